//! Settings of adapters.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use ovis_image::training::LoraOverride;
use ovis_image::{LoraFormat, Quantization};
use serde::{Deserialize, Serialize};

use crate::shared::usage::UsageError;

const ADAPTERS: &str = "Adapters";

/// Settings of adapters: flags of `train lora`, and keys of the table `[lora]` of a file.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LoraSettings {
    /// Adapter to start from, whose modules, ranks and alphas are kept
    #[arg(long, value_name = "FILE", help_heading = ADAPTERS)]
    pub init_lora: Option<PathBuf>,
    /// Rank of new adapters [default: 16]
    #[arg(long, value_name = "N", help_heading = ADAPTERS)]
    pub rank: Option<usize>,
    /// Alpha: updates are multiplied by alpha over the rank [default: the rank]
    #[arg(long, value_name = "VALUE", help_heading = ADAPTERS)]
    pub alpha: Option<f64>,
    /// Divide alpha by the root of the rank instead of the rank [default: false]
    #[arg(
        long, value_name = "BOOL",
        num_args = 0..=1,
        default_missing_value = "true",
        help_heading = ADAPTERS,
        hide_short_help = true
    )]
    pub rslora: Option<bool>,
    /// Modules to adapt [default: attention and feed-forward layers of all blocks]
    ///
    /// A pattern is a name in diffusers' naming, or the end of one; * stands for any text.
    #[arg(long, value_name = "PATTERN", value_delimiter = ',', help_heading = ADAPTERS)]
    pub target_modules: Option<Vec<String>>,
    /// Key format of the exported adapter: peft, kohya or comfyui [default: peft]
    #[arg(long, value_name = "FORMAT", help_heading = ADAPTERS)]
    pub format: Option<LoraFormat>,
    /// Word that stands for the style in prompts
    ///
    /// It is put in front of the captions of --images that do not contain it, and recorded in the
    /// adapter's metadata.
    #[arg(long, value_name = "WORD", help_heading = ADAPTERS)]
    pub trigger: Option<String>,
    /// Quantize the frozen weights of the blocks: q8_0 or q4_0
    #[arg(long, value_name = "FORMAT", help_heading = ADAPTERS)]
    pub quantize: Option<Quantization>,
    /// Number of transformer blocks to stream [default: 0]
    ///
    /// Their frozen weights stay in the checkpoint and are read at each step.
    #[arg(long, value_name = "COUNT", help_heading = ADAPTERS, hide_short_help = true)]
    pub stream_blocks: Option<usize>,
    /// Ranks and alphas of some modules.
    #[arg(skip)]
    pub overrides: Vec<LoraOverride>,
}

impl LoraSettings {
    /// Checks what requires no model.
    pub(super) fn check(&self) -> Result<()> {
        if self
            .trigger
            .as_deref()
            .is_some_and(|word| word.trim().is_empty())
        {
            bail!(UsageError::new("--trigger is empty"));
        }
        if self.rank == Some(0) {
            bail!(UsageError::new("--rank must be at least 1"));
        }
        let new = [
            ("--rank", self.rank.is_some()),
            ("--alpha", self.alpha.is_some()),
            ("--rslora", self.rslora.is_some()),
            ("--target-modules", self.target_modules.is_some()),
        ];
        let given = new.into_iter().find(|(_, given)| *given);
        match (&self.init_lora, given) {
            (Some(_), Some((flag, _))) => bail!(UsageError(format!(
                "{flag} is for new adapters, but --init-lora names an existing one: leave out one of the two"
            ))),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_new_adapters_are_refused_beside_a_start() {
        let settings = LoraSettings {
            init_lora: Some("a.safetensors".into()),
            ..LoraSettings::default()
        };
        settings.check().unwrap();
        let both = LoraSettings {
            alpha: Some(1.0),
            ..settings
        };
        let error = both.check().unwrap_err().to_string();
        assert!(error.contains("--alpha"), "{error}");
    }
}
