//! Adapters as a file that other programs read.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::adapters::LoraAdapters;
use crate::error::Result;
use crate::lora::matrix::Matrix;
use crate::lora::{LoraFormat, LoraUpdate, LoraUpdates};

impl<B: Backend> LoraAdapters<B> {
    /// Writes the adapters in f32 to a file that diffusers, PEFT and
    /// [`LoraFile`](crate::LoraFile) read, reads it back, and compares it. An existing file is
    /// replaced when the new one is complete. `metadata` is stored in its header.
    ///
    /// # Errors
    /// Returns the errors of [`LoraUpdates::save`].
    pub fn save(&self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<()> {
        self.save_as(path, LoraFormat::Peft, metadata)
    }

    /// Like [`save`](Self::save), in any format.
    ///
    /// # Errors
    /// Returns the errors of [`LoraUpdates::save`].
    pub fn save_as(
        &self,
        path: &Path,
        format: LoraFormat,
        metadata: &BTreeMap<String, String>,
    ) -> Result<()> {
        self.updates().save(path, format, metadata)
    }

    /// Reads the adapters from their device.
    pub fn updates(&self) -> LoraUpdates {
        let matrix = |tensor: Tensor<B, 2>| Matrix::from_data(tensor.into_data());
        let modules = self.modules().iter().map(|module| LoraUpdate {
            name: module.name.clone(),
            down: matrix(module.down.val()),
            up: matrix(module.up.val()),
            alpha: module.alpha,
            rank_stabilized: module.rank_stabilized,
        });
        LoraUpdates::new(self.layers().to_vec(), modules.collect())
    }
}
