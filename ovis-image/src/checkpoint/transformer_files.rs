use burn::tensor::backend::Backend;

use super::open::Checkpoint;
use super::part::Part;
use crate::config::{TransformerConfig, WeightDtype};
use crate::error::Result;
use crate::transformer::OvisImageTransformer;
use crate::weights::{LoadedModel, Residency, StoredParameter, load_weights};

/// Files that a transformer was loaded from, for reading its weights again.
#[derive(Debug)]
pub(crate) struct TransformerFiles {
    part: Part<TransformerConfig>,
    dtype: WeightDtype,
    in_place: bool,
}

impl TransformerFiles {
    pub(crate) fn new(checkpoint: &Checkpoint, dtype: WeightDtype, in_place: bool) -> Self {
        Self {
            part: checkpoint.transformer.clone(),
            dtype,
            in_place,
        }
    }

    pub(crate) fn config(&self) -> &TransformerConfig {
        &self.part.config
    }

    /// Reads the weights and puts each where its residency says.
    pub(crate) fn load<B: Backend>(
        &self,
        device: &B::Device,
        residency: impl Fn(&StoredParameter) -> Residency,
    ) -> Result<LoadedModel<OvisImageTransformer<B>>> {
        let weights = self.part.weights(self.dtype, self.in_place);
        load_weights(self.part.config.init(device), weights, residency, device)
    }
}
