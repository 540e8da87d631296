use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use super::{Guidance, Passes, Predictions};
use crate::error::{OvisImageError, Result};
use crate::sampling::StepPosition;

/// A part of the steps, from 0 (the first) to 1 (after the last).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GuidanceInterval {
    /// Where it begins.
    pub start: f64,
    /// Where it ends; the step there is outside.
    pub stop: f64,
}

impl GuidanceInterval {
    /// All steps.
    pub const ALL: Self = Self {
        start: 0.0,
        stop: 1.0,
    };

    /// Whether a step is in it.
    fn contains(self, step: StepPosition) -> bool {
        let (first, end) = self.steps(step.total);
        (first..end).contains(&step.index)
    }

    /// The first step inside and the first after it, whole ones, as diffusers counts.
    pub(super) fn steps(self, total: usize) -> (usize, usize) {
        let step = |part: f64| (part * total as f64) as usize;
        (step(self.start), step(self.stop))
    }

    /// # Errors
    /// [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) when
    /// it does not lie in 0 to 1, start before stop.
    pub(super) fn validate(self, argument: &'static str) -> Result<()> {
        let Self { start, stop } = self;
        if (0.0..=1.0).contains(&start) && (0.0..=1.0).contains(&stop) && start < stop {
            Ok(())
        } else {
            Err(OvisImageError::argument(
                argument,
                format!("{start} to {stop} does not lie within 0 to 1"),
            ))
        }
    }
}

/// Guides in a part of the steps only (arXiv 2404.07724); in the others the prompt's prediction is followed,
/// and the second one is not made.
#[derive(Debug)]
#[non_exhaustive]
pub struct Interval<G> {
    /// How to guide there.
    pub inner: G,
    /// Where.
    pub interval: GuidanceInterval,
}

impl<G> Interval<G> {
    /// Guides with `inner` within `interval`.
    pub fn new(inner: G, interval: GuidanceInterval) -> Self {
        Self { inner, interval }
    }
}

impl<B: Backend, G: Guidance<B>> Guidance<B> for Interval<G> {
    fn passes(&self, step: StepPosition) -> Passes {
        let inner = self.inner.passes(step);
        if self.interval.contains(step) || !inner.conditional {
            inner
        } else {
            Passes::CONDITIONAL
        }
    }

    fn combine(&mut self, step: StepPosition, predictions: Predictions<B>) -> Tensor<B, 3> {
        if self.interval.contains(step) {
            self.inner.combine(step, predictions)
        } else {
            predictions.conditional
        }
    }
}
