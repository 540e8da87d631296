//! The transformer's modulation of every block, computed apart from the blocks.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{OvisImageTransformer, StepModulation};

impl<B: Backend> OvisImageTransformer<B> {
    /// Computes the modulation of every block.
    ///
    /// # Shapes
    /// - `conditioning`: `[batch or steps, hidden]`, from [`conditioning`](Self::conditioning)
    pub fn modulation(&self, conditioning: Tensor<B, 2>) -> StepModulation<B> {
        StepModulation {
            double_blocks: self
                .double_blocks
                .iter()
                .map(|block| block.modulation(conditioning.clone()))
                .collect(),
            single_blocks: self
                .single_blocks
                .iter()
                .map(|block| block.modulation(conditioning.clone()))
                .collect(),
            final_layer: self.final_layer.modulation(conditioning),
        }
    }

    /// Computes the modulation like [`modulation`](Self::modulation), from a copy of each block in
    /// turn. The copy reads the parameters that are not loaded yet and then releases their memory;
    /// loaded parameters are shared.
    ///
    /// # Shapes
    /// Same as [`modulation`](Self::modulation).
    pub(crate) fn modulation_of_copies(&self, conditioning: Tensor<B, 2>) -> StepModulation<B> {
        StepModulation {
            double_blocks: self
                .double_blocks
                .iter()
                .map(|block| block.clone().modulation(conditioning.clone()))
                .collect(),
            single_blocks: self
                .single_blocks
                .iter()
                .map(|block| block.clone().modulation(conditioning.clone()))
                .collect(),
            final_layer: self.final_layer.clone().modulation(conditioning),
        }
    }
}
