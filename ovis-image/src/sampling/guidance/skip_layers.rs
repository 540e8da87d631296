use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use super::{Guidance, GuidanceInterval, Passes, Predictions};
use crate::sampling::StepPosition;

/// Away from what the model predicts with blocks left out (Stable Diffusion 3.5's skip-layer guidance).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SkipLayerGuidance {
    /// Double blocks left out, from 0.
    pub double_blocks: Vec<usize>,
    /// Single blocks left out, from 0.
    pub single_blocks: Vec<usize>,
    /// How far away.
    pub scale: f32,
    /// In which steps; as in diffusers, the one at its start is outside.
    pub interval: GuidanceInterval,
}

impl SkipLayerGuidance {
    /// With Stable Diffusion 3.5's scale and interval: 2.8, from 0.01 to 0.2.
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

    /// Sets the steps in which it acts.
    pub fn with_interval(mut self, start: f64, stop: f64) -> Self {
        self.interval = GuidanceInterval { start, stop };
        self
    }

    fn acts_at(&self, step: StepPosition) -> bool {
        let (first, end) = self.interval.steps(step.total);
        self.scale != 0.0 && first < step.index && step.index < end
    }
}

/// Adds skip-layer guidance to another one (diffusers: `SkipLayerGuidance`).
#[derive(Debug)]
#[non_exhaustive]
pub struct SkipLayers<G> {
    /// The other one.
    pub inner: G,
    /// How far away, and when.
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
        // Alone it takes the negative prompt's place, as in diffusers.
        match predictions.unconditional {
            None => perturbed + away,
            Some(_) => self.inner.combine(step, predictions) + away,
        }
    }
}
