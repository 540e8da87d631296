//! Step caches, which skip most of the transformer at steps whose prediction is close to known
//! ones.
//!
//! To add a cache to this crate, add a file here and a line in [`StepCacheKind`]. A program's
//! custom cache implements [`StepCache`] and is passed to
//! [`Denoiser::with_step_cache`](crate::pipeline::Denoiser::with_step_cache).

mod first_block;
mod kind;
mod taylor;
mod tea;

pub use first_block::FirstBlockCache;
pub use kind::StepCacheKind;
pub use taylor::TaylorCache;
pub use tea::TeaCache;

use std::fmt;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::sampling::StepPosition;
use crate::transformer::StagedForward;

/// Makes the predictions of one branch of guidance, from step to step.
///
/// Each branch (the prompt, the negative prompt, the prompt with blocks left out) has its own
/// cache, created for one run. All images of a batch share its decisions.
///
/// An implementation must
/// - compute its first prediction, with [`StagedForward::run`] or the forward's parts, because
///   there is nothing to reuse yet;
/// - support several calls at one step, because some samplers evaluate the model more than once,
///   and steps without a call, because guidance may leave its branch out;
/// - return predictions of the shape and dtype that [`StagedForward::run`] gives;
/// - report truthfully if all blocks were run, because
///   [`StepCacheReport`](crate::pipeline::StepCacheReport) counts those predictions.
pub trait StepCache<B: Backend>: fmt::Debug + Send {
    /// Predicts the velocity `noise - clean`.
    ///
    /// # Shapes
    /// - output: `[images, tokens, channels]`, in the model's dtype
    fn predict(&mut self, forward: StagedForward<'_, B>, step: StepPosition)
    -> CachedPrediction<B>;
}

impl<B: Backend, C: StepCache<B> + ?Sized> StepCache<B> for Box<C> {
    fn predict(
        &mut self,
        forward: StagedForward<'_, B>,
        step: StepPosition,
    ) -> CachedPrediction<B> {
        (**self).predict(forward, step)
    }
}

/// Prediction of a step cache, marked as computed or reused.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CachedPrediction<B: Backend> {
    /// Predicted velocity, `[images, tokens, channels]`.
    pub prediction: Tensor<B, 3>,
    /// True if all blocks were run for this prediction.
    pub is_computed: bool,
}

impl<B: Backend> CachedPrediction<B> {
    /// Wraps a prediction for which all blocks were run.
    pub fn computed(prediction: Tensor<B, 3>) -> Self {
        Self {
            prediction,
            is_computed: true,
        }
    }

    /// Wraps a prediction made from earlier ones, with blocks left out.
    pub fn reused(prediction: Tensor<B, 3>) -> Self {
        Self {
            prediction,
            is_computed: false,
        }
    }
}

/// Computes the mean absolute difference divided by the mean absolute value of `before`. Waits for
/// the device.
fn relative_change<B: Backend>(now: &Tensor<B, 3>, before: &Tensor<B, 3>) -> f32 {
    use burn::tensor::{DType, ElementConversion};
    let [now, before] = [now, before].map(|tensor| tensor.clone().cast(DType::F32));
    let mean = |tensor: Tensor<B, 3>| tensor.abs().mean().into_scalar().elem::<f32>();
    mean(now - before.clone()) / mean(before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestBackend, random, tensor};

    #[test]
    fn change_is_relative_to_what_was() {
        let before = random::<TestBackend, 3>(1, [2, 3, 4]);
        assert_eq!(relative_change(&before, &before), 0.0);
        let more = before.clone() * 1.25;
        assert!((relative_change(&more, &before) - 0.25).abs() < 1e-6);
        let before = tensor::<TestBackend, 3>([1, 1, 2], [1.0, 3.0]);
        let now = tensor([1, 1, 2], [2.0, 4.0]);
        assert_eq!(relative_change(&now, &before), 0.5);
    }
}
