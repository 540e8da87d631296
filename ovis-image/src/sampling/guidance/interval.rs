use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use serde::{Deserialize, Serialize};

use super::{Guidance, Passes, Predictions};
use crate::error::{OvisImageError, Result};
use crate::sampling::StepPosition;

/// Part of the steps, from 0 (the first) to 1 (after the last).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GuidanceInterval {
    /// Start of the interval.
    pub start: f64,
    /// End of the interval; the step at the end is outside.
    pub stop: f64,
}

impl GuidanceInterval {
    /// Interval of all steps.
    pub const ALL: Self = Self {
        start: 0.0,
        stop: 1.0,
    };

    /// Returns true if the step lies in the interval.
    fn contains(self, step: StepPosition) -> bool {
        let (first, end) = self.steps(step.total);
        (first..end).contains(&step.index)
    }

    /// Returns true if any step of a run lies in the interval.
    pub(crate) fn contains_any(self, total: usize) -> bool {
        (0..total).any(|index| self.contains(StepPosition { index, total }))
    }

    /// Computes the first step inside and the first step after the interval, as whole numbers, like
    /// diffusers.
    pub(super) fn steps(self, total: usize) -> (usize, usize) {
        let step = |part: f64| (part * total as f64) as usize;
        (step(self.start), step(self.stop))
    }

    /// Checks the bounds of the interval.
    ///
    /// # Errors
    /// Returns [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) if
    /// the interval does not lie within 0 to 1 or does not start before it ends.
    pub(super) fn validate(self, argument: &'static str) -> Result<()> {
        let Self { start, stop } = self;
        if (0.0..=1.0).contains(&start) && (0.0..=1.0).contains(&stop) && start < stop {
            Ok(())
        } else {
            Err(OvisImageError::argument(
                argument,
                format!(
                    "{start} to {stop}: the interval must lie within 0 to 1 and start before it ends"
                ),
            ))
        }
    }
}

/// Applies guidance in an interval of the steps only (arXiv 2404.07724). The other steps follow the
/// prompt's prediction and skip the second one.
#[derive(Debug)]
#[non_exhaustive]
pub struct Interval<G> {
    /// Guidance inside the interval.
    pub inner: G,
    /// Steps in which the guidance applies.
    pub interval: GuidanceInterval,
}

impl<G> Interval<G> {
    /// Applies `inner` within `interval`.
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
