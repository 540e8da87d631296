use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{Guidance, Passes, Predictions};
use crate::sampling::StepPosition;

/// Combines two predictions: `unconditional + scale * (conditional - unconditional)` (arXiv
/// 2207.12598).
///
/// At a scale of 1 the result is the conditional prediction, so callers skip the second pass for
/// scales up to 1.
///
/// # Shapes
/// - `conditional`, `unconditional` and output: any, but equal
pub fn classifier_free_guidance<B: Backend, const D: usize>(
    conditional: Tensor<B, D>,
    unconditional: Tensor<B, D>,
    scale: f32,
) -> Tensor<B, D> {
    unconditional.clone() + (conditional - unconditional) * scale
}

/// Classifier-free guidance at every step; scales of 1 and below use the prompt's prediction alone.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ClassifierFree {
    /// Guidance scale.
    pub scale: f32,
}

impl ClassifierFree {
    /// Creates guidance with a scale.
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
