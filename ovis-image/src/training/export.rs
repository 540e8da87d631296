//! Export of trained models as a checkpoint, in any layout.

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::backend::Backend;
use serde::Serialize;

use super::parameter_map::visit_parameters;
use super::stored_tensor::StoredTensor;
use crate::checkpoint::file_names::{CONFIG_FILE, TEXT_ENCODER_WEIGHTS};
use crate::checkpoint::{ExportOptions, ExportReport, PartPaths};
use crate::config::{TextEncoderConfig, TransformerConfig, VaeConfig};
use crate::error::{OvisImageError, Result};
use crate::text_encoder::TextEncoder;
use crate::transformer::OvisImageTransformer;
use crate::vae::AutoencoderKl;
use crate::{Checkpoint, CheckpointPaths};

/// Models that replace those of a checkpoint. The others are taken from its files.
#[derive(Debug)]
pub struct TrainedParts<'a, B: Backend> {
    /// Transformer.
    pub transformer: Option<(&'a OvisImageTransformer<B>, &'a TransformerConfig)>,
    /// Text encoder.
    pub text_encoder: Option<(&'a TextEncoder<B>, &'a TextEncoderConfig)>,
    /// VAE.
    pub vae: Option<(&'a AutoencoderKl<B>, &'a VaeConfig)>,
}

impl<B: Backend> Default for TrainedParts<'_, B> {
    fn default() -> Self {
        Self {
            transformer: None,
            text_encoder: None,
            vae: None,
        }
    }
}

impl<B: Backend> TrainedParts<'_, B> {
    /// Writes a checkpoint to a new folder. The parts that are not replaced, the tokenizer and the
    /// scheduler come from `base`.
    ///
    /// # Errors
    /// Returns the errors of [`Checkpoint::export`], or
    /// [`CheckpointError::Io`](crate::error::CheckpointError::Io).
    pub fn export(
        &self,
        base: &CheckpointPaths,
        folder: &Path,
        options: &ExportOptions,
    ) -> Result<ExportReport> {
        let parent = match folder.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(parent).map_err(|error| OvisImageError::io(parent, error))?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let parts = Temporary(parent.join(format!(".{name}.trained.{}", std::process::id())));
        let given = self.write(&parts.0)?;
        let paths = CheckpointPaths {
            transformer: given
                .transformer
                .unwrap_or_else(|| base.transformer.clone()),
            vae: given.vae.unwrap_or_else(|| base.vae.clone()),
            text_encoder: given
                .text_encoder
                .unwrap_or_else(|| base.text_encoder.clone()),
            ..base.clone()
        };
        Checkpoint::open_paths(&paths)?.export(folder, options)
    }

    /// Writes the models under the paths of their parameters, one folder per model.
    fn write(&self, folder: &Path) -> Result<PartPaths> {
        let mut paths = PartPaths::default();
        if let Some((model, config)) = self.transformer {
            paths.transformer = Some(write_part(folder, "transformer", model, config)?);
        }
        if let Some((model, config)) = self.text_encoder {
            paths.text_encoder = Some(write_part(folder, "text_encoder", model, config)?);
        }
        if let Some((model, config)) = self.vae {
            paths.vae = Some(write_part(folder, "vae", model, config)?);
        }
        Ok(paths)
    }
}

/// Temporary folder, removed when it is no longer needed.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // What cannot be removed is only in the way of the eye.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn write_part<B: Backend, M: Module<B>>(
    folder: &Path,
    name: &str,
    model: &M,
    config: &impl Serialize,
) -> Result<PathBuf> {
    let folder = folder.join(name);
    std::fs::create_dir_all(&folder).map_err(|error| OvisImageError::io(&folder, error))?;
    let config = serde_json::to_vec(config).map_err(|error| {
        OvisImageError::config_because("checkpoint", "it cannot be written as JSON", error)
    })?;
    let path = folder.join(CONFIG_FILE);
    std::fs::write(&path, config).map_err(|error| OvisImageError::io(&path, error))?;
    let weights = folder.join(TEXT_ENCODER_WEIGHTS);
    let mut tensors = Vec::new();
    visit_parameters::<B, M, _>(model, |path, parameter| {
        tensors.push((path, StoredTensor::new(parameter.values, parameter.shape)));
    });
    safetensors::serialize_to_file(tensors, None, &weights)
        .map_err(|error| OvisImageError::io(&weights, std::io::Error::other(error)))?;
    Ok(folder)
}
