//! Training stage of adapters: the transformer is frozen, and low-rank adapters learn.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use burn::tensor::backend::Backend;
use clap::Args;
use image::RgbImage;
use ovis_image::LoraFile;
use ovis_image::training::{
    FlowMatching, ImageBatch, ImageModels, LoraAdapters, LoraConfig, LoraFlowMatching, LoraOverride,
};
use ovis_image::transformer::OvisImageTransformer;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::flow::FlowStage;
use super::resolved::Resolved;
use super::stage::Stage;
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
    #[arg(long, help_heading = ADAPTERS)]
    pub rank: Option<usize>,
    /// Numerator of the factor of an update, whose denominator is the rank [default: the rank]
    #[arg(long, help_heading = ADAPTERS)]
    pub alpha: Option<f64>,
    /// Divide alpha by the root of the rank instead of the rank [default: false]
    #[arg(long, num_args = 0..=1, default_missing_value = "true", help_heading = ADAPTERS)]
    pub rslora: Option<bool>,
    /// Modules to adapt: names in diffusers' naming or their ends, with * for any text [default:
    /// attention and feed-forward layers of all blocks]
    #[arg(long, value_name = "PATTERN", value_delimiter = ',', help_heading = ADAPTERS)]
    pub target_modules: Option<Vec<String>>,
    /// Ranks and alphas of some modules.
    #[arg(skip)]
    pub overrides: Vec<LoraOverride>,
}

impl LoraSettings {
    /// Checks what requires no model.
    pub(super) fn check(&self) -> Result<()> {
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
                "{flag} is of new adapters, and --init-lora starts from an adapter that has its own"
            ))),
            _ => Ok(()),
        }
    }

    /// Reads or creates the adapters that a run starts from.
    ///
    /// # Errors
    /// Returns the errors of the adapter's file, or an error if it was made for another model, or
    /// if no module matches a pattern.
    pub fn adapters<B: Backend>(
        &self,
        seed: u64,
        transformer: &OvisImageTransformer<B>,
        device: &B::Device,
    ) -> Result<LoraAdapters<B>> {
        if let Some(path) = &self.init_lora {
            let file = LoraFile::open(path)?;
            return Ok(LoraAdapters::read(&file, transformer, device)?);
        }
        let default = LoraConfig::default();
        let rank = self.rank.unwrap_or(default.rank);
        let config = LoraConfig {
            rank,
            alpha: self.alpha.unwrap_or(rank as f64),
            rank_stabilized: self.rslora.unwrap_or_default(),
            modules: self.target_modules.clone().unwrap_or(default.modules),
            overrides: self.overrides.clone(),
        };
        Ok(LoraAdapters::new(&config, transformer, seed, device)?)
    }
}

/// Training stage of adapters.
#[derive(Debug)]
pub struct LoraStage<B: Backend> {
    flow: FlowStage<B>,
    /// Objective on whose transformer the adapters act in samples.
    objective: LoraFlowMatching<B>,
    measures: FlowMatching,
}

impl<B: Backend> LoraStage<B> {
    /// Creates the stage over the stage of the whole transformer, which validates and samples.
    pub fn new(resolved: &Resolved, flow: FlowStage<B>, objective: LoraFlowMatching<B>) -> Self {
        Self {
            flow,
            objective,
            measures: FlowMatching::new(resolved.flow_matching()),
        }
    }

    fn adapted(&self, adapters: &LoraAdapters<B>) -> Result<ImageModels<B>> {
        Ok(ImageModels {
            transformer: self.objective.adapted(adapters)?,
            text_encoder: None,
            auxiliary: None,
        })
    }
}

impl<B: Backend> Stage<B> for LoraStage<B> {
    type Objective = LoraFlowMatching<B>;

    fn exports(&self) -> [&'static str; 2] {
        ["lora.safetensors", "lora-ema.safetensors"]
    }

    fn images_of(&self, batch: &ImageBatch<B>) -> usize {
        self.flow.images_of(batch)
    }

    fn before_batch(&self, _objective: &mut LoraFlowMatching<B>, _images: u64) {}

    fn validate(
        &self,
        _objective: &LoraFlowMatching<B>,
        models: &LoraAdapters<B>,
    ) -> Result<Map<String, Value>> {
        self.flow.validate(&self.measures, &self.adapted(models)?)
    }

    fn sample(&self, models: &LoraAdapters<B>) -> Result<Option<RgbImage>> {
        self.flow.sample(&self.adapted(models)?)
    }

    fn export(&self, models: &LoraAdapters<B>, path: &Path) -> Result<()> {
        Ok(models.save(path, &BTreeMap::new())?)
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
