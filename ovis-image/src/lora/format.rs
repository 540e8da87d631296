//! Key formats of LoRA files.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::updates::LoraUpdate;
use crate::error::{OvisImageError, Result};
use crate::weights::{TransformerNaming, comfyui_name};

/// Key format of a LoRA file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LoraFormat {
    /// PEFT's keys with its configuration in the metadata, for diffusers and PEFT.
    #[default]
    Peft,
    /// Keys of kohya's scripts with an alpha for each module, by the authors' fused modules.
    Kohya,
    /// ComfyUI's names of weights with an alpha for each module, by the authors' fused modules.
    ComfyUi,
}

impl LoraFormat {
    /// Returns the naming of its modules.
    pub(super) fn naming(self) -> TransformerNaming {
        match self {
            Self::Peft => TransformerNaming::Diffusers,
            Self::Kohya | Self::ComfyUi => TransformerNaming::Authors,
        }
    }

    /// Returns whether the file has a tensor with the alpha of each module.
    pub(super) fn has_alphas(self) -> bool {
        self != Self::Peft
    }

    /// Returns the beginning of a module's keys.
    pub(super) fn key(self, module: &str) -> String {
        let comfyui = || {
            let name = comfyui_name(&format!("{module}.weight"));
            name.trim_end_matches(".weight").to_owned()
        };
        match self {
            Self::Peft => format!("transformer.{module}"),
            Self::Kohya => format!("lora_unet_{}", comfyui().replace('.', "_")),
            Self::ComfyUi => format!("diffusion_model.{}", comfyui()),
        }
    }

    /// Returns the endings of the keys of the down and up projections.
    pub(super) fn endings(self) -> [&'static str; 2] {
        match self {
            Self::Peft | Self::ComfyUi => ["lora_A.weight", "lora_B.weight"],
            Self::Kohya => ["lora_down.weight", "lora_up.weight"],
        }
    }

    /// Returns rank and alpha of the whole file as kohya's scripts state them.
    pub(super) fn statement(modules: &[LoraUpdate]) -> BTreeMap<String, String> {
        let stated = |values: Vec<String>| match values.split_first() {
            Some((first, others)) if others.iter().all(|other| other == first) => first.clone(),
            _ => "Dynamic".to_owned(),
        };
        let ranks = modules.iter().map(|module| module.down.rows.to_string());
        let alphas = modules.iter().map(|module| module.alpha.to_string());
        BTreeMap::from([
            ("ss_network_dim".to_owned(), stated(ranks.collect())),
            ("ss_network_alpha".to_owned(), stated(alphas.collect())),
        ])
    }
}

impl fmt::Display for LoraFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Peft => "peft",
            Self::Kohya => "kohya",
            Self::ComfyUi => "comfyui",
        })
    }
}

impl FromStr for LoraFormat {
    type Err = OvisImageError;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "peft" => Ok(Self::Peft),
            "kohya" => Ok(Self::Kohya),
            "comfyui" => Ok(Self::ComfyUi),
            _ => Err(OvisImageError::argument(
                "format",
                format!("`{text}` is not one of peft, kohya, comfyui"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_programs() {
        let key = |format: LoraFormat, module| format.key(module);
        let block = "double_blocks.0.img_attn.qkv";
        assert_eq!(
            key(LoraFormat::Kohya, block),
            "lora_unet_double_blocks_0_img_attn_qkv"
        );
        assert_eq!(
            key(LoraFormat::ComfyUi, block),
            format!("diffusion_model.{block}")
        );
        assert_eq!(
            key(LoraFormat::ComfyUi, "semantic_txt_in"),
            "diffusion_model.txt_in"
        );
        assert_eq!(key(LoraFormat::Peft, "proj_out"), "transformer.proj_out");
        for format in [LoraFormat::Peft, LoraFormat::Kohya, LoraFormat::ComfyUi] {
            assert_eq!(format.to_string().parse::<LoraFormat>().unwrap(), format);
        }
        assert!("lycoris".parse::<LoraFormat>().is_err());
    }
}
