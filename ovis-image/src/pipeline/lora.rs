//! Loading, scaling, merging and unloading of a pipeline's LoRAs.

use burn::tensor::backend::Backend;

use super::pretrained::OvisImagePipeline;
use crate::error::Result;
use crate::loaded_models::MergeReport;
use crate::lora::{ActiveLora, LoraFile, LoraReport};

impl<B: Backend> OvisImagePipeline<B> {
    /// Adds a LoRA to the transformer under a new name.
    ///
    /// Images are generated with all loaded LoRAs. Clones of the pipeline made earlier are not
    /// affected.
    ///
    /// # Errors
    /// Returns [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) if
    /// the name is taken or the scale is not finite, and the errors of
    /// [`attach_lora`](crate::lora::attach_lora). After an error the pipeline is unchanged.
    pub fn load_lora(
        &mut self,
        name: impl Into<String>,
        file: &LoraFile,
        scale: f32,
    ) -> Result<LoraReport> {
        self.adapted_mut().load_lora(name.into(), file, scale)
    }

    /// Sets the strength of a LoRA for the following requests. A scale of 0 turns it off at no
    /// cost.
    ///
    /// # Errors
    /// Returns [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) if
    /// the name is unknown or the scale is not finite.
    pub fn set_lora_scale(&mut self, name: &str, scale: f32) -> Result<()> {
        self.adapted_mut().set_lora_scale(name, scale)
    }

    /// Unloads a LoRA.
    ///
    /// # Errors
    /// Returns [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) if
    /// the name is unknown.
    pub fn unload_lora(&mut self, name: &str) -> Result<()> {
        self.adapted_mut().unload_lora(name)
    }

    /// Loaded LoRAs, in the order in which they were loaded.
    pub fn loras(&self) -> &[ActiveLora] {
        self.adapted().loras()
    }

    /// Merges the LoRAs into the weights, so that steps cost no more than without LoRAs.
    ///
    /// The sum is computed in f32 and rounded once. Weights that are read on each use (streamed,
    /// quantized) keep their adapters separate.
    ///
    /// Loading, unloading and scaling still work afterwards; each merges again from the original
    /// weights.
    ///
    /// # Errors
    /// Returns an error if LoRAs were merged before and the checkpoint cannot be read again.
    pub fn merge_loras(&mut self) -> Result<MergeReport> {
        self.adapted_mut().merge_loras()
    }

    /// Restores the original weights bit for bit. The LoRAs stay active as separate adapters.
    ///
    /// The weights are read from the checkpoint, which must still exist, or taken from memory if
    /// the transformer did not come from the checkpoint. Does nothing if nothing is merged.
    ///
    /// # Errors
    /// Returns an error if the checkpoint cannot be read again.
    pub fn unmerge_loras(&mut self) -> Result<()> {
        self.adapted_mut().unmerge_loras()
    }
}
