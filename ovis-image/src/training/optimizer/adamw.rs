use serde::{Deserialize, Serialize};

use super::limits::{decay, positive};
use crate::error::{OvisImageError, Result};
use crate::ops::AdamWStep;

/// Constants of AdamW (arXiv 1711.05101; torch: `AdamW`).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdamWConfig {
    /// Decays of the two moments.
    pub betas: [f64; 2],
    /// Term added to the denominator.
    pub eps: f64,
    /// Decoupled weight decay of matrices and kernels. Biases and scales of norms, which have one
    /// axis, do not decay.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            betas: [0.9, 0.95],
            eps: 1e-8,
            weight_decay: 0.01,
        }
    }
}

impl AdamWConfig {
    pub(super) fn validate(&self) -> Result<()> {
        positive("optimizer.eps", self.eps)?;
        for beta in self.betas {
            if !(0.0..1.0).contains(&beta) {
                let reason = format!("{beta} is not between 0 and 1");
                return Err(OvisImageError::argument("optimizer.betas", reason));
            }
        }
        decay(self.weight_decay)
    }

    /// Computes the numbers of a step, counted from 1.
    pub(super) fn step(
        &self,
        number: u64,
        learning_rate: f64,
        gradient_scale: f32,
        decays: bool,
    ) -> AdamWStep {
        let [beta1, beta2] = self.betas;
        let steps = i32::try_from(number).unwrap_or(i32::MAX);
        let first_correction = 1.0 - beta1.powi(steps);
        let second_correction = 1.0 - beta2.powi(steps);
        let weight_decay = if decays { self.weight_decay } else { 0.0 };
        AdamWStep {
            gradient_scale,
            decay: (1.0 - learning_rate * weight_decay) as f32,
            beta1: beta1 as f32,
            beta2: beta2 as f32,
            eps: self.eps as f32,
            step_size: (learning_rate / first_correction) as f32,
            second_correction: second_correction.sqrt() as f32,
        }
    }
}
