use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{CachedPrediction, StepCache, relative_change};
use crate::sampling::StepPosition;
use crate::transformer::StagedForward;

/// TeaCache (arXiv 2411.19108): accumulates the change of the first block's modulated input from
/// step to step. Until the sum reaches a threshold, the residual of the last full step replaces all
/// blocks.
///
/// The change is used unscaled, because the polynomials that TeaCache fits to each model have not
/// been fitted to this one. The first and the last step are always full.
#[derive(Debug, Clone)]
pub struct TeaCache<B: Backend> {
    threshold: f32,
    changed: f32,
    last_input: Option<Tensor<B, 3>>,
    /// Residual that all blocks added at the last full step, `[batch, image tokens, hidden]`.
    added: Option<Tensor<B, 3>>,
}

impl<B: Backend> TeaCache<B> {
    /// Creates a cache that reuses the residual until the accumulated relative change reaches
    /// `threshold`.
    pub fn new(threshold: f32) -> Self {
        Self {
            threshold,
            changed: 0.0,
            last_input: None,
            added: None,
        }
    }
}

impl<B: Backend> StepCache<B> for TeaCache<B> {
    fn predict(
        &mut self,
        forward: StagedForward<'_, B>,
        step: StepPosition,
    ) -> CachedPrediction<B> {
        let streams = forward.embed();
        let before = streams.image.clone();
        let input = forward.modulated_input(before.clone());
        if let Some(last) = self.last_input.replace(input.clone()) {
            self.changed += relative_change(&input, &last);
        }
        match &self.added {
            Some(added) if self.changed < self.threshold && !step.is_last() => {
                CachedPrediction::reused(forward.finish(before + added.clone()))
            }
            _ => {
                let image = forward.all_blocks(streams);
                self.added = Some(image.clone() - before);
                self.changed = 0.0;
                CachedPrediction::computed(forward.finish(image))
            }
        }
    }
}
