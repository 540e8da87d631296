//! Export of trained models as a checkpoint, in any layout.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use safetensors::{Dtype, View};
use serde::Serialize;

use super::ParameterMap;
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
    let shapes = shapes_of::<B, M>(model);
    let values = ParameterMap::of_module(model);
    let tensors = values.iter().map(|(path, tensor)| {
        let shape = shapes.get(path).cloned().unwrap_or_default();
        let data = tensor.clone().into_data();
        (path.to_owned(), Values { data, shape })
    });
    safetensors::serialize_to_file(tensors, None, &weights)
        .map_err(|error| OvisImageError::io(&weights, std::io::Error::other(error)))?;
    Ok(folder)
}

fn shapes_of<B: Backend, M: Module<B>>(model: &M) -> HashMap<String, Vec<usize>> {
    use burn::module::{ModuleVisitor, Param};
    struct Shapes {
        path: Vec<String>,
        found: HashMap<String, Vec<usize>>,
    }
    impl<B: Backend> ModuleVisitor<B> for Shapes {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            let shape: [usize; D] = param.lazy_shape().dims();
            self.found.insert(self.path.join("."), shape.to_vec());
        }
    }
    let mut shapes = Shapes {
        path: Vec::new(),
        found: HashMap::new(),
    };
    model.visit(&mut shapes);
    shapes.found
}

struct Values {
    data: TensorData,
    shape: Vec<usize>,
}

impl View for Values {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data.bytes)
    }

    fn data_len(&self) -> usize {
        self.data.bytes.len()
    }
}
