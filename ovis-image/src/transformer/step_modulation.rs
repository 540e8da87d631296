use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{DoubleModulation, FinalModulation, ModulationParams, OvisImageTransformer};

/// Modulation of every block, for one conditioning vector or for several side by side.
///
/// adaLN depends on the timestep alone, and a fifth of the model's parameters serve nothing else.
/// Computing it for all steps at once reads those parameters once per image instead of once per
/// step.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StepModulation<B: Backend> {
    /// Modulation of each double block.
    pub double_blocks: Vec<DoubleModulation<B>>,
    /// Modulation of each single block.
    pub single_blocks: Vec<ModulationParams<B>>,
    /// Modulation of the final layer.
    pub final_layer: FinalModulation<B>,
}

impl<B: Backend> StepModulation<B> {
    /// Selects the modulation of one conditioning vector; it serves every item of a batch.
    ///
    /// # Panics
    /// Panics if there are `index` vectors or fewer.
    pub fn item(&self, index: usize) -> Self {
        let double_blocks = self.double_blocks.iter();
        let single_blocks = self.single_blocks.iter();
        Self {
            double_blocks: double_blocks.map(|block| block.item(index)).collect(),
            single_blocks: single_blocks.map(|block| block.item(index)).collect(),
            final_layer: self.final_layer.item(index),
        }
    }
}

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
