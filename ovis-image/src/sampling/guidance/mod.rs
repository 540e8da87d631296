//! Guidance: selects the predictions that a step needs and combines them. Methods can wrap one
//! another. To add a method, add a file here and a line in [`GuidanceMethod`].

mod classifier_free;
mod interval;
mod method;
mod projected;
mod skip_layers;
#[cfg(test)]
mod tests;
mod zero_star;

pub use classifier_free::{ClassifierFree, classifier_free_guidance};
pub use interval::{GuidanceInterval, Interval};
pub use method::{GuidanceMethod, GuidanceSettings};
pub use projected::AdaptiveProjected;
pub use skip_layers::{SkipLayerGuidance, SkipLayers};
pub use zero_star::ZeroStar;

use std::fmt;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::StepPosition;

/// Combines a step's predictions. A method may remember earlier steps; use each value for one run
/// only.
pub trait Guidance<B: Backend>: fmt::Debug + Send {
    /// Selects the predictions that a step needs; the others are not computed.
    fn passes(&self, step: StepPosition) -> Passes;

    /// Combines the predictions into the one to follow.
    ///
    /// # Shapes
    /// - all predictions and the output: `[images, tokens, channels]`, f32
    fn combine(&mut self, step: StepPosition, predictions: Predictions<B>) -> Tensor<B, 3>;
}

/// Selection of the predictions that a step needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Passes {
    /// Selects the prediction for the prompt. Without it no prediction is made and the velocity is
    /// zero.
    pub conditional: bool,
    /// Selects the prediction for the negative prompt.
    pub unconditional: bool,
    /// Selects the prediction for the prompt with blocks left out.
    pub perturbed: bool,
}

impl Passes {
    /// Selects no prediction: the step leaves the latents unchanged.
    pub const NONE: Self = Self {
        conditional: false,
        unconditional: false,
        perturbed: false,
    };
    /// Selects the prompt's prediction only.
    pub const CONDITIONAL: Self = Self {
        conditional: true,
        unconditional: false,
        perturbed: false,
    };
    /// Selects the predictions for both prompts.
    pub const BOTH: Self = Self {
        unconditional: true,
        ..Self::CONDITIONAL
    };
}

/// Predictions that [`Guidance::passes`] selected.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Predictions<B: Backend> {
    /// Prediction for the prompt.
    pub conditional: Tensor<B, 3>,
    /// Prediction for the negative prompt.
    pub unconditional: Option<Tensor<B, 3>>,
    /// Prediction for the prompt with blocks left out.
    pub perturbed: Option<Tensor<B, 3>>,
}

impl<B: Backend> Predictions<B> {
    /// Holds the prompt's prediction alone; set the other fields as needed.
    pub fn new(conditional: Tensor<B, 3>) -> Self {
        Self {
            conditional,
            unconditional: None,
            perturbed: None,
        }
    }
}
