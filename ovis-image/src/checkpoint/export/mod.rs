//! Export of a checkpoint to another layout. A tensor of the target is made of rows of the source's
//! tensors. If both are stored alike, the bytes are copied, including quantized blocks, and nothing
//! is rounded.

mod burnpack;
mod configs;
mod files;
mod folder;
mod gguf;
mod merge;
mod part_lock;
mod rows;
mod safetensors;
mod tensor;

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use self::files::ExportFiles;
#[cfg(feature = "extract-lora")]
use self::files::outgoing_tensors;
use self::folder::PartFolder;
use self::tensor::OutgoingTensor;
use super::layout::Layout;
use super::open::Checkpoint;
use crate::config::{SchedulerConfig, WeightDtype};
use crate::error::{OvisImageError, Result, RuntimeError};
use crate::lora::{LoraFile, layer_updates};
use crate::tensor_file::Quantization;
use crate::weights::QuantizationScheme;
#[cfg(feature = "extract-lora")]
use crate::weights::{NameTable, TransformerNaming};

/// Options of an export: layout, dtype and quantization.
#[derive(Debug, Clone, Copy)]
pub struct ExportOptions {
    layout: Layout,
    dtype: Option<WeightDtype>,
    gguf: bool,
    quantization: Option<Quantization>,
    protect_double_blocks: bool,
}

impl ExportOptions {
    /// Creates options for a layout that keep the weights unchanged. Quantized tensors of the
    /// source become bf16, except in a [GGUF](Self::with_gguf) file, which keeps them.
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            dtype: None,
            gguf: false,
            quantization: None,
            protect_double_blocks: false,
        }
    }

    /// Sets the dtype of all weights that are not quantized.
    pub fn with_dtype(mut self, dtype: WeightDtype) -> Self {
        self.dtype = Some(dtype);
        self
    }

    /// Sets whether the transformer becomes a GGUF file, for [`Layout::ComfyUi`]. Vectors are f32
    /// there, as in other programs' files.
    pub fn with_gguf(mut self, gguf: bool) -> Self {
        self.gguf = gguf;
        self
    }

    /// Writes the transformer as a GGUF file with quantized matrices in its blocks, the same ones
    /// as with [`LoadOptions::with_quantization`](crate::LoadOptions::with_quantization).
    pub fn with_quantization(mut self, quantization: Quantization) -> Self {
        self.quantization = Some(quantization);
        self
    }

    /// Sets whether [`with_quantization`](Self::with_quantization) leaves the double blocks
    /// unquantized.
    pub fn with_protected_double_blocks(mut self, protect: bool) -> Self {
        self.protect_double_blocks = protect;
        self
    }

    fn quantization_scheme(&self) -> Option<QuantizationScheme> {
        let scheme = QuantizationScheme::new(self.quantization?);
        Some(scheme.with_protected_double_blocks(self.protect_double_blocks))
    }

    fn is_gguf(&self) -> bool {
        self.gguf || self.quantization.is_some()
    }

    fn check(&self) -> Result<()> {
        if self.is_gguf() && self.layout != Layout::ComfyUi {
            return Err(OvisImageError::argument(
                "layout",
                format!(
                    "a GGUF transformer can be exported only to {}; the requested layout is: {}",
                    Layout::ComfyUi,
                    self.layout
                ),
            ));
        }
        Ok(())
    }
}

/// Result of an export.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct ExportReport {
    /// Weights files with their sizes in bytes.
    pub files: Vec<(PathBuf, u64)>,
    /// Number of tensors of the source that were left out because the model does not read them, for
    /// example the vision parts of Ovis2.5.
    pub left_out: usize,
    /// Notes on what other programs need and the source does not have.
    pub notes: Vec<String>,
}

/// Progress of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportProgress {
    /// Bytes of weights written so far.
    pub written: u64,
    /// Total bytes of weights.
    pub total: u64,
}

impl Checkpoint {
    /// Writes the checkpoint into a new folder, in any layout, with configurations and tokenizer.
    ///
    /// Only one tensor at a time is in memory. The folder appears when it is complete.
    ///
    /// # Errors
    /// Returns
    ///
    /// - [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) if the
    ///   folder is not empty, if a GGUF transformer is requested in another layout than ComfyUI's, or
    ///   if f16 or the quantization cannot represent the weights;
    /// - the errors of loading, if the checkpoint is not complete;
    /// - [`CheckpointError::Io`](crate::error::CheckpointError::Io) if a file cannot be written.
    pub fn export(
        &self,
        folder: impl AsRef<Path>,
        options: &ExportOptions,
    ) -> Result<ExportReport> {
        self.export_with(folder, options, |_| ControlFlow::Continue(()))
    }

    /// Like [`export`](Self::export), with a callback after each tensor, which cancels the export if
    /// it returns [`ControlFlow::Break`]. Nothing is left of a canceled export.
    ///
    /// # Errors
    /// Returns the errors of [`export`](Self::export), or
    /// [`RuntimeError::ExportCanceled`](crate::error::RuntimeError::ExportCanceled).
    pub fn export_with(
        &self,
        folder: impl AsRef<Path>,
        options: &ExportOptions,
        on_progress: impl FnMut(ExportProgress) -> ControlFlow<()>,
    ) -> Result<ExportReport> {
        self.export_merged(folder, options, &[], on_progress)
    }

    /// Like [`export_with`](Self::export_with), with LoRAs merged into the transformer, each with a
    /// scale. The sum is computed in f32 and rounded once.
    ///
    /// # Errors
    /// Returns the errors of [`export_with`](Self::export_with), or
    /// [`LoraError`](crate::error::LoraError) if a LoRA was made for another model.
    pub fn export_merged(
        &self,
        folder: impl AsRef<Path>,
        options: &ExportOptions,
        loras: &[(&LoraFile, f32)],
        mut on_progress: impl FnMut(ExportProgress) -> ControlFlow<()>,
    ) -> Result<ExportReport> {
        options.check()?;
        let folder = folder.as_ref();
        let files = ExportFiles::new(options, self.vae.config.block_out_channels.len());
        let mut updates = Vec::new();
        for (file, scale) in loras {
            let read = layer_updates(file, *scale, &self.transformer.config)?;
            updates.extend(read.into_iter().map(Arc::new));
        }
        let parts = files.outgoing_files(self, &updates)?;
        let tensors = parts.iter().flat_map(|part| &part.tensors);
        let total = tensors.map(|tensor| tensor.bytes() as u64).sum();
        let mut written = 0;
        let mut on_written = |bytes| {
            written += bytes;
            match on_progress(ExportProgress { written, total }) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => {
                    Err(RuntimeError::ExportCanceled { written, total }.into())
                }
            }
        };
        let part_folder = PartFolder::create(folder)?;
        let mut report = ExportReport {
            files: Vec::new(),
            left_out: self.inspect().iter().map(|part| part.ignored_tensors).sum(),
            notes: Vec::new(),
        };
        for part in &parts {
            let path = part_folder.file(&part.name)?;
            let ending = part.name.extension().and_then(OsStr::to_str);
            match ending {
                Some("gguf") => gguf::write(&path, part, &mut on_written)?,
                Some("bpk") => burnpack::write(&path, part, &mut on_written)?,
                _ => safetensors::write(&path, part, &mut on_written)?,
            }
            let length = std::fs::metadata(&path).map_err(|error| OvisImageError::io(&path, error));
            report.files.push((folder.join(&part.name), length?.len()));
        }
        configs::write(self, options.layout, &part_folder)?;
        let has_tokenizer = part_folder.tokenizer(&self.tokenizer, files.tokenizer_folder())?;
        report.notes = self.export_notes(options.layout, has_tokenizer);
        part_folder.complete()?;
        Ok(report)
    }

    /// Lists what a layout needs or had and the exported folder does not contain.
    fn export_notes(&self, layout: Layout, has_tokenizer: bool) -> Vec<String> {
        let mut notes = Vec::new();
        if !has_tokenizer && layout == Layout::Diffusers {
            notes.push(
                "diffusers needs Qwen3's tokenizer_config.json with its chat template in tokenizer/: \
                 the source has none"
                    .to_owned(),
            );
        }
        let has_scheduler = matches!(layout, Layout::Diffusers | Layout::Burnpack);
        if !has_scheduler && !is_the_releases(&self.scheduler) {
            notes.push(format!(
                "{layout} do not include a scheduler, and the source's is not the release's: set its shift in each request"
            ));
        }
        notes
    }
}

/// Returns whether a scheduler is the default that layouts without one imply.
fn is_the_releases(scheduler: &SchedulerConfig) -> bool {
    // `false` means the same as an absent flag.
    let unset = |flag: Option<bool>| flag.filter(|set| *set);
    let spelled_alike = SchedulerConfig {
        use_karras_sigmas: unset(scheduler.use_karras_sigmas),
        use_exponential_sigmas: unset(scheduler.use_exponential_sigmas),
        use_beta_sigmas: unset(scheduler.use_beta_sigmas),
        ..scheduler.clone()
    };
    spelled_alike == SchedulerConfig::ovis_image_7b()
}

/// Tensor of a transformer by diffusers' name.
#[cfg(feature = "extract-lora")]
pub(super) struct NamedTensor<'a>(OutgoingTensor<'a>);

#[cfg(feature = "extract-lora")]
impl NamedTensor<'_> {
    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    pub(super) fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    /// Reads the elements.
    pub(super) fn read(&self) -> Result<Vec<f32>> {
        let bytes = self.0.read()?;
        let values = bytes.as_chunks::<4>().0.iter();
        Ok(values.map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }
}

/// Lists the tensors of a transformer by diffusers' names.
#[cfg(feature = "extract-lora")]
pub(super) fn transformer_tensors(checkpoint: &Checkpoint) -> Result<Vec<NamedTensor<'_>>> {
    let table = NameTable::transformer(TransformerNaming::Diffusers);
    Ok(outgoing_tensors(&checkpoint.transformer, &table)?
        .map(NamedTensor)
        .collect())
}

/// Receives the number of bytes of a tensor that was written. An error ends the export.
type OnWritten<'a> = dyn FnMut(u64) -> Result<()> + 'a;

/// A weights file to write.
struct OutgoingFile<'a> {
    /// Path within the folder.
    name: PathBuf,
    tensors: Vec<OutgoingTensor<'a>>,
    /// Configuration to write into its metadata.
    config: String,
}
