use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{Guidance, Passes, Predictions};
use crate::sampling::StepPosition;

/// `unconditional + scale * (conditional - unconditional)` (arXiv 2207.12598). At a scale of 1
/// this is the conditional prediction, so callers skip the second pass for scales up to 1.
///
/// # Shapes
/// - `conditional`, `unconditional` and output: the same, any
pub fn classifier_free_guidance<B: Backend, const D: usize>(
    conditional: Tensor<B, D>,
    unconditional: Tensor<B, D>,
    scale: f32,
) -> Tensor<B, D> {
    unconditional.clone() + (conditional - unconditional) * scale
}

/// [`classifier_free_guidance`] at every step; for scales of 1 and below the prompt alone.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ClassifierFree {
    /// How far beyond the prompt's prediction.
    pub scale: f32,
}

impl ClassifierFree {
    /// Guidance of a scale.
    pub fn new(scale: f32) -> Self {
        Self { scale }
    }
}

impl<B: Backend> Guidance<B> for ClassifierFree {
    fn passes(&self, _step: StepPosition) -> Passes {
        if self.scale > 1.0 {
            Passes::BOTH
        } else {
            Passes::CONDITIONAL
        }
    }

    fn combine(&mut self, _step: StepPosition, predictions: Predictions<B>) -> Tensor<B, 3> {
        match predictions.unconditional {
            Some(unconditional) => {
                classifier_free_guidance(predictions.conditional, unconditional, self.scale)
            }
            None => predictions.conditional,
        }
    }
}
