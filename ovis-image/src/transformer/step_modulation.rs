use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{DoubleModulation, FinalModulation, ModulationParams, OvisImageTransformer};

/// Every block's modulation, for one conditioning vector or for several side by side.
///
/// adaLN depends on the timestep alone, and a fifth of the model's parameters serve nothing else:
/// computing it for all steps at once reads them once an image, not once a step.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StepModulation<B: Backend> {
    /// One per double block.
    pub double_blocks: Vec<DoubleModulation<B>>,
    /// One per single block.
    pub single_blocks: Vec<ModulationParams<B>>,
    /// Of the final layer.
    pub final_layer: FinalModulation<B>,
}

impl<B: Backend> StepModulation<B> {
    /// That of one conditioning vector; it serves every item of a batch.
    ///
    /// # Panics
    /// If there is no vector of that index.
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
    /// The modulation of every block.
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

    /// The same from a copy of each block in turn. A parameter that is read when first used is then
    /// read by the copy and its memory given back; one that is there is shared.
    ///
    /// # Shapes
    /// As [`modulation`](Self::modulation).
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
