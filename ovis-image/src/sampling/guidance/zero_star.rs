use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{Guidance, Passes, Predictions, classifier_free_guidance};
use crate::sampling::StepPosition;

/// CFG-Zero* (arXiv 2503.18886): scales the negative prompt's prediction to be as close as possible
/// to the prompt's, and leaves the latents unchanged in the first steps (diffusers:
/// `ClassifierFreeZeroStarGuidance`).
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ZeroStar {
    /// Guidance scale.
    pub scale: f32,
    /// Number of initial steps with zero velocity; no prediction is made for them.
    pub zero_init_steps: usize,
}

/// Keeps the division finite if a prediction is all zeros, as diffusers does.
const EPSILON: f64 = 1e-8;

impl ZeroStar {
    /// Creates guidance with a scale and a number of initial steps that leave the latents
    /// unchanged.
    pub fn new(scale: f32, zero_init_steps: usize) -> Self {
        Self {
            scale,
            zero_init_steps,
        }
    }
}

impl<B: Backend> Guidance<B> for ZeroStar {
    fn passes(&self, step: StepPosition) -> Passes {
        Passes {
            conditional: step.index >= self.zero_init_steps,
            ..Passes::BOTH
        }
    }

    fn combine(&mut self, _step: StepPosition, predictions: Predictions<B>) -> Tensor<B, 3> {
        let conditional = predictions.conditional;
        let Some(unconditional) = predictions.unconditional else {
            return conditional;
        };
        let over_image = |tensor: Tensor<B, 3>| tensor.sum_dim(2).sum_dim(1);
        let shared = over_image(conditional.clone() * unconditional.clone());
        let square = over_image(unconditional.clone() * unconditional.clone());
        let unconditional = unconditional * (shared / (square + EPSILON));
        classifier_free_guidance(conditional, unconditional, self.scale)
    }
}
