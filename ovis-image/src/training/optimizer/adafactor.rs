use serde::{Deserialize, Serialize};

use super::limits::{decay, positive};
use crate::error::{OvisImageError, Result};

/// Constants of Adafactor (arXiv 1804.04235; transformers: `Adafactor` without `relative_step` and
/// without a first moment).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdafactorConfig {
    /// Term added to squared gradients.
    pub square_eps: f64,
    /// Smallest root mean square of a parameter by which its learning rate is multiplied.
    pub scale_eps: f64,
    /// Largest root mean square of an update before it is multiplied by the learning rate.
    pub clip_threshold: f64,
    /// Exponent of the decay of squares: step t keeps `1 - t^decay_rate` of them.
    pub decay_rate: f64,
    /// Multiplies the learning rate of each parameter by the root mean square of its values.
    pub scale_parameter: bool,
    /// Decoupled weight decay of matrices and kernels. Biases and scales of norms, which have one
    /// axis, do not decay.
    pub weight_decay: f64,
}

impl Default for AdafactorConfig {
    fn default() -> Self {
        Self {
            square_eps: 1e-30,
            scale_eps: 1e-3,
            clip_threshold: 1.0,
            decay_rate: -0.8,
            scale_parameter: false,
            weight_decay: 0.01,
        }
    }
}

impl AdafactorConfig {
    pub(super) fn validate(&self) -> Result<()> {
        positive("optimizer.square_eps", self.square_eps)?;
        positive("optimizer.scale_eps", self.scale_eps)?;
        positive("optimizer.clip_threshold", self.clip_threshold)?;
        decay(self.weight_decay)?;
        if !(self.decay_rate.is_finite() && self.decay_rate < 0.0) {
            let reason = format!("{} is not a negative number", self.decay_rate);
            return Err(OvisImageError::argument("optimizer.decay_rate", reason));
        }
        Ok(())
    }
}
