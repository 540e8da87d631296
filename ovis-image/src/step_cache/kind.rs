use std::fmt;
use std::str::FromStr;

use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use super::{FirstBlockCache, StepCache, TaylorCache, TeaCache};
use crate::error::{OvisImageError, Result};

/// Selects a step cache by name.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum StepCacheKind {
    /// Selects [`FirstBlockCache`].
    FirstBlock {
        /// Largest relative change at which the cache still reuses residuals.
        threshold: f32,
    },
    /// Selects [`TeaCache`].
    Tea {
        /// Accumulated change at which all blocks run again.
        threshold: f32,
    },
    /// Selects [`TaylorCache`].
    Taylor {
        /// Interval, in steps, at which all blocks run.
        interval: usize,
        /// Highest order of derivative in the forecast.
        order: usize,
        /// Number of initial steps that all run in full.
        warmup: usize,
    },
}

const MAX_INTERVAL: usize = 1000;
const MAX_ORDER: usize = 4;

impl StepCacheKind {
    /// Values that [`FromStr`] accepts.
    pub const NAMES: &str = "first-block:THRESHOLD, tea:THRESHOLD, taylor:INTERVAL, taylor:INTERVAL:ORDER, taylor:INTERVAL:ORDER:WARMUP";

    /// Creates a cache for one branch of one run.
    pub fn build<B: Backend>(self) -> Box<dyn StepCache<B>> {
        match self {
            Self::FirstBlock { threshold } => Box::new(FirstBlockCache::new(threshold)),
            Self::Tea { threshold } => Box::new(TeaCache::new(threshold)),
            Self::Taylor {
                interval,
                order,
                warmup,
            } => Box::new(TaylorCache::new(interval, order, warmup)),
        }
    }

    /// Bytes that a cache keeps for each image token and branch.
    pub(crate) fn bytes_per_token(self, hidden: usize, channels: usize, element: u64) -> u64 {
        match self {
            Self::FirstBlock { .. } | Self::Tea { .. } => 2 * hidden as u64 * element,
            // Predictions are kept in f32.
            Self::Taylor { order, .. } => (order as u64 + 1) * channels as u64 * 4,
        }
    }

    /// Checks the settings of the cache.
    ///
    /// # Errors
    /// Returns [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) if
    /// the threshold is negative or not finite, or if the interval or the order is out of range.
    pub(crate) fn validate(self) -> Result<()> {
        let reason = match self {
            Self::FirstBlock { threshold } | Self::Tea { threshold }
                if !(threshold.is_finite() && threshold >= 0.0) =>
            {
                format!("the threshold {threshold} must be a finite number of at least 0")
            }
            Self::Taylor {
                interval, order, ..
            } if !(1..=MAX_INTERVAL).contains(&interval) || order > MAX_ORDER => format!(
                "the interval {interval} must be 1 to {MAX_INTERVAL} and the order {order} at most {MAX_ORDER}"
            ),
            _ => return Ok(()),
        };
        Err(OvisImageError::argument("step_cache", reason))
    }
}

impl fmt::Display for StepCacheKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstBlock { threshold } => write!(f, "first-block:{threshold}"),
            Self::Tea { threshold } => write!(f, "tea:{threshold}"),
            Self::Taylor {
                interval,
                order,
                warmup,
            } => write!(f, "taylor:{interval}:{order}:{warmup}"),
        }
    }
}

impl FromStr for StepCacheKind {
    type Err = OvisImageError;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || {
            OvisImageError::argument(
                "step_cache",
                format!("`{text}` is not one of {}", Self::NAMES),
            )
        };
        let (name, numbers) = text.split_once(':').ok_or_else(unknown)?;
        let threshold = || numbers.parse::<f32>().map_err(|_| unknown());
        let kind = match name {
            "first-block" => Self::FirstBlock {
                threshold: threshold()?,
            },
            "tea" => Self::Tea {
                threshold: threshold()?,
            },
            "taylor" => {
                let numbers: Vec<usize> = numbers
                    .split(':')
                    .map(|number| number.parse().map_err(|_| unknown()))
                    .collect::<Result<_>>()?;
                match numbers[..] {
                    [interval] => Self::taylor(interval, 1, 3),
                    [interval, order] => Self::taylor(interval, order, 3),
                    [interval, order, warmup] => Self::taylor(interval, order, warmup),
                    _ => return Err(unknown()),
                }
            }
            _ => return Err(unknown()),
        };
        kind.validate()?;
        Ok(kind)
    }
}

impl StepCacheKind {
    fn taylor(interval: usize, order: usize, warmup: usize) -> Self {
        Self::Taylor {
            interval,
            order,
            warmup,
        }
    }
}

impl From<StepCacheKind> for String {
    fn from(kind: StepCacheKind) -> Self {
        kind.to_string()
    }
}

impl TryFrom<String> for StepCacheKind {
    type Error = OvisImageError;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_reads_what_it_writes() {
        for kind in [
            StepCacheKind::FirstBlock { threshold: 0.1 },
            StepCacheKind::Tea { threshold: 0.25 },
            StepCacheKind::taylor(3, 2, 4),
        ] {
            assert_eq!(kind.to_string().parse::<StepCacheKind>().unwrap(), kind);
        }
    }

    #[test]
    fn unknown_caches_are_refused() {
        for bad in [
            "",
            "tea",
            "tea:",
            "tea:-1",
            "tea:NaN",
            "first-block:x",
            "taylor:0",
            "taylor:3:9",
            "taylor:1:1:1:1",
            "easy:1",
        ] {
            assert!(bad.parse::<StepCacheKind>().is_err(), "{bad}");
        }
    }
}
