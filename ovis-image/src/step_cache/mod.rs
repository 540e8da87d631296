//! Step caches: steps whose prediction is near enough to what is known leave out most of the
//! transformer.
//!
//! A cache in this crate is a file here and a line in [`StepCacheKind`]. A cache of a program
//! implements [`StepCache`] and is given to
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
/// Each branch (the prompt, the negative prompt, the prompt with blocks left out) has a cache of its
/// own, made for one run. All images of a batch share its decisions.
///
/// An implementation must
/// - compute its first prediction, with [`StagedForward::run`] or the forward's parts, since nothing
///   is known then;
/// - cope with several calls at one step, because some samplers ask the model more than once, and
///   with steps without a call, because guidance may leave its branch out;
/// - return predictions of the shape and dtype that [`StagedForward::run`] gives;
/// - say truthfully whether all blocks were run:
///   [`StepCacheReport`](crate::pipeline::StepCacheReport) counts that.
pub trait StepCache<B: Backend>: fmt::Debug + Send {
    /// Makes a prediction of the velocity `noise - clean`.
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

/// A prediction, and whether all blocks were run for it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CachedPrediction<B: Backend> {
    /// `[images, tokens, channels]`.
    pub prediction: Tensor<B, 3>,
    /// Whether all blocks were run for it.
    pub is_computed: bool,
}

impl<B: Backend> CachedPrediction<B> {
    /// A prediction for which all blocks were run.
    pub fn computed(prediction: Tensor<B, 3>) -> Self {
        Self {
            prediction,
            is_computed: true,
        }
    }

    /// A prediction that was made from earlier ones, with blocks left out.
    pub fn reused(prediction: Tensor<B, 3>) -> Self {
        Self {
            prediction,
            is_computed: false,
        }
    }
}

/// The mean absolute difference over the mean absolute value before. Waits for the device.
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
