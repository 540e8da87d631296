use burn::tensor::backend::Backend;

use super::{DoubleModulation, FinalModulation, ModulationParams};

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
