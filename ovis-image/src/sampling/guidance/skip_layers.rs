use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use super::{Guidance, GuidanceInterval, Passes, Predictions};
use crate::sampling::StepPosition;

/// Skip-layer guidance (Stable Diffusion 3.5): steers away from the prediction with blocks left
/// out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SkipLayerGuidance {
    /// Indices of the double blocks to leave out, from 0.
    pub double_blocks: Vec<usize>,
    /// Indices of the single blocks to leave out, from 0.
    pub single_blocks: Vec<usize>,
    /// Scale of the guidance away from that prediction.
    pub scale: f32,
    /// Steps in which the guidance applies; as in diffusers, the step at the start is outside.
    pub interval: GuidanceInterval,
}

impl SkipLayerGuidance {
    /// Creates settings with Stable Diffusion 3.5's scale, 2.8, and interval, 0.01 to 0.2.
    pub fn new(
        double_blocks: impl IntoIterator<Item = usize>,
        single_blocks: impl IntoIterator<Item = usize>,
    ) -> Self {
        Self {
            double_blocks: double_blocks.into_iter().collect(),
            single_blocks: single_blocks.into_iter().collect(),
            scale: 2.8,
            interval: GuidanceInterval {
                start: 0.01,
                stop: 0.2,
            },
        }
    }

    /// Sets the scale.
    pub fn with_scale(mut self, scale: f32) -> Self {
        self.scale = scale;
        self
    }

    /// Sets the interval of steps in which the guidance applies.
    pub fn with_interval(mut self, start: f64, stop: f64) -> Self {
        self.interval = GuidanceInterval { start, stop };
        self
    }

    /// Returns true if the guidance applies in any step of a run.
    pub(crate) fn acts_in(&self, total: usize) -> bool {
        (0..total).any(|index| self.acts_at(StepPosition { index, total }))
    }

    fn acts_at(&self, step: StepPosition) -> bool {
        let (first, end) = self.interval.steps(step.total);
        self.scale != 0.0 && first < step.index && step.index < end
    }
}

/// Adds skip-layer guidance to another guidance method (diffusers: `SkipLayerGuidance`).
#[derive(Debug)]
#[non_exhaustive]
pub struct SkipLayers<G> {
    /// Guidance method that skip-layer guidance is added to.
    pub inner: G,
    /// Settings of the skip-layer guidance.
    pub settings: SkipLayerGuidance,
}

impl<G> SkipLayers<G> {
    /// Adds skip-layer guidance to `inner`.
    pub fn new(inner: G, settings: SkipLayerGuidance) -> Self {
        Self { inner, settings }
    }
}

impl<B: Backend, G: Guidance<B>> Guidance<B> for SkipLayers<G> {
    fn passes(&self, step: StepPosition) -> Passes {
        Passes {
            perturbed: self.settings.acts_at(step),
            ..self.inner.passes(step)
        }
    }

    fn combine(&mut self, step: StepPosition, mut predictions: Predictions<B>) -> Tensor<B, 3> {
        let Some(perturbed) = predictions.perturbed.take() else {
            return self.inner.combine(step, predictions);
        };
        let conditional = predictions.conditional.clone();
        let away = (conditional - perturbed.clone()) * self.settings.scale;
        // Without a negative prompt the perturbed prediction takes its place, as in diffusers.
        match predictions.unconditional {
            None => perturbed + away,
            Some(_) => self.inner.combine(step, predictions) + away,
        }
    }
}
