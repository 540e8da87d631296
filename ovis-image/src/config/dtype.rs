use std::fmt;
use std::str::FromStr;

use burn::tensor::DType;
use serde::{Deserialize, Serialize};

use crate::error::{OvisImageError, Result};

/// Element type of weights and activations. Normalization, rotation and sampling always use f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum WeightDtype {
    /// Single precision.
    #[default]
    F32,
    /// Half precision. Its range is narrow, so the VAE stays in f32.
    F16,
    /// Brain floating point, the dtype of the release.
    BF16,
}

impl WeightDtype {
    /// Converts to Burn's dtype.
    pub fn to_burn(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::BF16 => DType::BF16,
        }
    }

    /// Converts from Burn's dtype; `None` if weights cannot have it.
    pub fn from_burn(dtype: DType) -> Option<Self> {
        match dtype {
            DType::F32 => Some(Self::F32),
            DType::F16 => Some(Self::F16),
            DType::BF16 => Some(Self::BF16),
            _ => None,
        }
    }

    /// Number of bytes per element.
    pub(crate) fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }
}

impl fmt::Display for WeightDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
        })
    }
}

impl FromStr for WeightDtype {
    type Err = OvisImageError;

    /// Reads a name in any case, as Rust, PyTorch or the programs around it spell it.
    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "f32" | "fp32" | "float32" | "float" => Ok(Self::F32),
            "f16" | "fp16" | "float16" | "half" => Ok(Self::F16),
            "bf16" | "bfloat16" => Ok(Self::BF16),
            _ => Err(OvisImageError::argument(
                "dtype",
                format!("`{text}` is not one of f32, f16, bf16"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_programs_are_read() {
        for (dtype, names) in [
            (WeightDtype::F32, ["f32", "fp32", "Float32", "float"]),
            (WeightDtype::F16, ["f16", "fp16", "float16", "half"]),
            (WeightDtype::BF16, ["bf16", "BF16", "bfloat16", "BFloat16"]),
        ] {
            for name in names {
                assert_eq!(name.parse::<WeightDtype>().unwrap(), dtype, "{name}");
            }
        }
        for bad in ["", "f64", "f8", "float8"] {
            assert!(bad.parse::<WeightDtype>().is_err(), "{bad}");
        }
    }
}
