//! Networks in `rten`.

use rten::Model;
use rten_tensor::{NdTensor, Tensor};

use super::check_ends;

/// Network in `rten`.
#[derive(Debug)]
pub(super) struct RtenNetwork(Model);

impl RtenNetwork {
    /// Loads a network from the bytes of its file.
    ///
    /// # Errors
    /// Returns what is wrong with the file.
    pub(super) fn load(bytes: Vec<u8>) -> Result<Self, String> {
        let model = Model::load(bytes).map_err(|error| error.to_string())?;
        check_ends(model.input_ids().len(), model.output_ids().len())?;
        Ok(Self(model))
    }

    /// Returns a value of the file's metadata.
    pub(super) fn metadata(&self, key: &str) -> Option<String> {
        self.0.metadata().get(key).map(str::to_owned)
    }

    /// Runs the network.
    ///
    /// # Errors
    /// Returns the reason if it fails.
    pub(super) fn run(&self, batch: NdTensor<f32, 4>) -> Result<Tensor<f32>, String> {
        let output = self.0.run_one(batch.into(), None);
        let output = output.map_err(|error| error.to_string())?;
        output
            .try_into()
            .map_err(|_| "its output is not a tensor of 32-bit numbers".to_owned())
    }
}
