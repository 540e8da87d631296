use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{CachedPrediction, StepCache, relative_change};
use crate::sampling::StepPosition;
use crate::transformer::StagedForward;

/// First-block cache: always runs the first block, and if its residual has hardly changed since the
/// last full step, reuses the residual of the other blocks from that step (ParaAttention;
/// diffusers: `apply_first_block_cache`).
#[derive(Debug, Clone)]
pub struct FirstBlockCache<B: Backend> {
    threshold: f32,
    last: Option<Residuals<B>>,
}

/// Residuals that the blocks added to the image stream at the last full step, each `[batch, image
/// tokens, hidden]`.
#[derive(Debug, Clone)]
struct Residuals<B: Backend> {
    first_block: Tensor<B, 3>,
    other_blocks: Tensor<B, 3>,
}

impl<B: Backend> FirstBlockCache<B> {
    /// Creates a cache that reuses residuals up to a relative change of `threshold`.
    pub fn new(threshold: f32) -> Self {
        Self {
            threshold,
            last: None,
        }
    }
}

impl<B: Backend> StepCache<B> for FirstBlockCache<B> {
    fn predict(
        &mut self,
        forward: StagedForward<'_, B>,
        _step: StepPosition,
    ) -> CachedPrediction<B> {
        let streams = forward.embed();
        let before = streams.image.clone();
        let streams = forward.first_block(streams);
        let after = streams.image.clone();
        let first_block = after.clone() - before;
        if let Some(last) = &self.last
            && relative_change(&first_block, &last.first_block) <= self.threshold
        {
            let image = after + last.other_blocks.clone();
            return CachedPrediction::reused(forward.finish(image));
        }
        let image = forward.other_blocks(streams);
        self.last = Some(Residuals {
            first_block,
            other_blocks: image.clone() - after,
        });
        CachedPrediction::computed(forward.finish(image))
    }
}
