//! Step caches: steps whose prediction is near enough to what is known leave out most of the
//! transformer. One more is a file here and a line in [`StepCacheKind`].

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

/// Makes the predictions of one branch of guidance, from step to step; each branch has its own. The images
/// of a batch share its decisions.
pub trait StepCache<B: Backend>: fmt::Debug + Send {
    /// A prediction, `[images, tokens, channels]`, in the model's dtype.
    fn predict(&mut self, forward: StagedForward<'_, B>, step: StepPosition)
    -> CachedPrediction<B>;
}

/// A prediction and what it took.
#[derive(Debug, Clone)]
pub struct CachedPrediction<B: Backend> {
    /// `[images, tokens, channels]`.
    pub prediction: Tensor<B, 3>,
    /// Whether all blocks were run for it.
    pub is_computed: bool,
}

impl<B: Backend> CachedPrediction<B> {
    fn computed(prediction: Tensor<B, 3>) -> Self {
        Self {
            prediction,
            is_computed: true,
        }
    }

    fn reused(prediction: Tensor<B, 3>) -> Self {
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
