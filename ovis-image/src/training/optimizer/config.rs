use serde::{Deserialize, Serialize};

use super::{AdafactorConfig, AdamWConfig};
use crate::error::Result;

/// Optimizer of a run, with its constants.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum OptimizerConfig {
    /// AdamW with moments in f32, 8 bytes per parameter.
    #[serde(rename = "adamw")]
    AdamW(AdamWConfig),
    /// AdamW with moments in 8 bits, about 2 bytes per parameter (arXiv 2110.02861; bitsandbytes:
    /// `AdamW8bit`). Parameters of fewer than 4,096 values have moments in f32.
    #[serde(rename = "adamw8bit")]
    AdamW8bit(AdamWConfig),
    /// Adafactor, whose state of a matrix is one value per row and column.
    Adafactor(AdafactorConfig),
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::AdamW(AdamWConfig::default())
    }
}

impl OptimizerConfig {
    /// Checks that the constants are in range.
    pub(in crate::training) fn validate(&self) -> Result<()> {
        match self {
            Self::AdamW(config) | Self::AdamW8bit(config) => config.validate(),
            Self::Adafactor(config) => config.validate(),
        }
    }
}
