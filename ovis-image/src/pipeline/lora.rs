//! LoRAs on a pipeline.

use burn::tensor::backend::Backend;

use super::adapted_transformer::MergeReport;
use super::pretrained::OvisImagePipeline;
use crate::error::Result;
use crate::lora::{ActiveLora, LoraFile, LoraReport};

impl<B: Backend> OvisImagePipeline<B> {
    /// Adds a LoRA to the transformer under a new name. Images are made with all LoRAs that are
    /// loaded. Clones of the pipeline that were made before do not have it.
    ///
    /// # Errors
    /// [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) for a name that
    /// is taken or a scale that is not finite; the errors of
    /// [`attach_lora`](crate::lora::attach_lora). Nothing is changed then.
    pub fn load_lora(
        &mut self,
        name: impl Into<String>,
        file: &LoraFile,
        scale: f32,
    ) -> Result<LoraReport> {
        self.adapted_mut().load_lora(name.into(), file, scale)
    }

    /// Changes how strongly a LoRA acts from the next request on; 0 is off, and costs nothing.
    ///
    /// # Errors
    /// [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) for an unknown
    /// name or a scale that is not finite.
    pub fn set_lora_scale(&mut self, name: &str, scale: f32) -> Result<()> {
        self.adapted_mut().set_lora_scale(name, scale)
    }

    /// Removes a LoRA.
    ///
    /// # Errors
    /// [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) for an unknown
    /// name.
    pub fn unload_lora(&mut self, name: &str) -> Result<()> {
        self.adapted_mut().unload_lora(name)
    }

    /// The LoRAs that act, in the order in which they were loaded.
    pub fn loras(&self) -> &[ActiveLora] {
        self.adapted().loras()
    }

    /// Adds the updates to the weights, in f32 and rounded once: steps then cost what they cost
    /// without. Weights that are read when used (streamed, quantized) keep theirs beside them.
    ///
    /// Loading, unloading and scaling still work; each merges anew from the original weights.
    ///
    /// # Errors
    /// Those of reading the checkpoint again, if it was merged before.
    pub fn merge_loras(&mut self) -> Result<MergeReport> {
        self.adapted_mut().merge_loras()
    }

    /// Puts the original weights back, to the bit: from the checkpoint, which must still be there,
    /// or from memory when the transformer is not the checkpoint's own. The LoRAs go on acting
    /// beside them. Does nothing if nothing is merged.
    ///
    /// # Errors
    /// Those of reading the checkpoint again.
    pub fn unmerge_loras(&mut self) -> Result<()> {
        self.adapted_mut().unmerge_loras()
    }
}
