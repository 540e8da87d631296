//! Key formats of LoRA files.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{OvisImageError, Result};
use crate::weights::TransformerNaming;

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
    fn a_format_is_parsed_from_its_name() {
        for format in [LoraFormat::Peft, LoraFormat::Kohya, LoraFormat::ComfyUi] {
            assert_eq!(format.to_string().parse::<LoraFormat>().unwrap(), format);
        }
        assert!("lycoris".parse::<LoraFormat>().is_err());
    }
}
