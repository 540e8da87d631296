//! Guidance: which predictions a step needs, and how they become one. Ways of guiding wrap one
//! another; one more is a file here and a line in [`GuidanceMethod`].

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

/// Combines a step's predictions. It may remember earlier steps; one value serves one run.
pub trait Guidance<B: Backend>: fmt::Debug + Send {
    /// The predictions that a step needs; those that no guidance needs are not made.
    fn passes(&self, step: StepPosition) -> Passes;

    /// The prediction to follow.
    ///
    /// # Shapes
    /// - all predictions and the output: `[images, tokens, channels]`, f32
    fn combine(&mut self, step: StepPosition, predictions: Predictions<B>) -> Tensor<B, 3>;
}

/// The predictions that a step needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Passes {
    /// That of the prompt. Without it there is none at all, and the velocity is zero.
    pub conditional: bool,
    /// That of the negative prompt.
    pub unconditional: bool,
    /// That of the prompt with blocks left out.
    pub perturbed: bool,
}

impl Passes {
    /// No prediction: the step stands still.
    pub const NONE: Self = Self {
        conditional: false,
        unconditional: false,
        perturbed: false,
    };
    /// The prompt's alone.
    pub const CONDITIONAL: Self = Self {
        conditional: true,
        unconditional: false,
        perturbed: false,
    };
    /// Both prompts'.
    pub const BOTH: Self = Self {
        unconditional: true,
        ..Self::CONDITIONAL
    };
}

/// The predictions that [`Guidance::passes`] asked for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Predictions<B: Backend> {
    /// Of the prompt.
    pub conditional: Tensor<B, 3>,
    /// Of the negative prompt.
    pub unconditional: Option<Tensor<B, 3>>,
    /// Of the prompt with blocks left out.
    pub perturbed: Option<Tensor<B, 3>>,
}

impl<B: Backend> Predictions<B> {
    /// The prompt's prediction alone; the other fields can be set.
    pub fn new(conditional: Tensor<B, 3>) -> Self {
        Self {
            conditional,
            unconditional: None,
            perturbed: None,
        }
    }
}
