use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;

use super::keys::{self, Key, Role};
use super::peft::{METADATA, PeftConfig, scaling};
use crate::config::WeightDtype;
use crate::error::{LoraError, OvisImageError, Result};
use crate::tensor_file::TensorSource;

/// A LoRA file, read and checked by itself, independent of any model.
#[derive(Debug)]
pub struct LoraFile {
    path: PathBuf,
    source: TensorSource,
    modules: BTreeMap<String, LoraModule>,
}

/// The two matrices of a module.
#[derive(Debug, Clone)]
pub(super) struct LoraModule {
    /// Name of the tensor `[rank, in]`.
    pub(super) down: String,
    /// Name of the tensor `[out, rank]`.
    pub(super) up: String,
    /// Factor of the update: alpha over the rank, or over its root.
    pub(super) scaling: f32,
    pub(super) alpha: f64,
    /// True if alpha is divided by the root of the rank.
    pub(super) rank_stabilized: bool,
}

/// Parts of a module that have been found while keys are read.
#[derive(Default)]
struct Found<'a> {
    down: Option<&'a str>,
    up: Option<&'a str>,
    alpha: Option<&'a str>,
}

impl LoraFile {
    /// Opens a safetensors file, or a folder with one, and reads its header; matrices are read when
    /// they are attached. PEFT's `adapter_config.json` is read from the folder, or from beside an
    /// `adapter_model.safetensors`.
    ///
    /// # Errors
    /// Returns the errors of [`TensorSource::open`], [`LoraError::UnsupportedAdapter`] if the file
    /// uses another method than low-rank addition, or
    /// [`CheckpointError::InvalidFile`](crate::error::CheckpointError::InvalidFile) with the name
    /// of a tensor that is not part of a LoRA, that lacks its other half, or whose shape does not
    /// match it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let source = TensorSource::open(path)?;
        let config = PeftConfig::read(path, &source)?;
        let modules = read_modules(path, &source, config.as_ref())?;
        Ok(Self {
            path: path.to_owned(),
            source,
            modules,
        })
    }

    /// Returns the path of the file or folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the texts in its metadata by name, except PEFT's configuration.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let texts = self.source.all_metadata();
        texts
            .filter(|(name, _)| *name != METADATA)
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .collect()
    }

    /// Lists its files with their sizes in bytes.
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        self.source.files().collect()
    }

    /// Returns the size of its matrices in f32, the most that they take when attached, in bytes.
    pub fn bytes(&self) -> u64 {
        let tensors = self
            .modules
            .values()
            .flat_map(|module| [&module.down, &module.up]);
        let shapes = tensors.filter_map(|tensor| self.source.shape(tensor));
        shapes
            .map(|shape| {
                shape
                    .iter()
                    .fold(4u64, |bytes, size| bytes.saturating_mul(*size as u64))
            })
            .fold(0, u64::saturating_add)
    }

    /// Returns the names of the modules that it updates, as the file spells them.
    pub fn modules(&self) -> impl ExactSizeIterator<Item = &str> {
        self.modules.keys().map(String::as_str)
    }

    pub(super) fn entries(&self) -> impl ExactSizeIterator<Item = (&str, &LoraModule)> {
        self.modules
            .iter()
            .map(|(name, module)| (name.as_str(), module))
    }

    /// Reads both matrices of a module and the factor of its update; `None` if it has no such
    /// module.
    pub(crate) fn matrices(&self, module: &str) -> Result<Option<(TensorData, TensorData, f32)>> {
        let Some(module) = self.modules.get(module) else {
            return Ok(None);
        };
        let (down, up) = (self.read(&module.down)?, self.read(&module.up)?);
        Ok(Some((down, up, module.scaling)))
    }

    /// Returns the shape of one of its matrices.
    pub(super) fn shape(&self, tensor: &str) -> [usize; 2] {
        // Both matrices exist and have two axes: `read_modules` checked.
        match self.source.shape(tensor) {
            Some([rows, columns]) => [*rows, *columns],
            _ => [0, 0],
        }
    }

    /// Reads the elements of one of its matrices as f32.
    pub(super) fn read(&self, tensor: &str) -> Result<TensorData> {
        let data = self.source.read(tensor, WeightDtype::F32)?;
        let finite = data
            .as_slice::<f32>()
            .is_ok_and(|values| values.iter().all(|value| value.is_finite()));
        if finite {
            return Ok(data);
        }
        Err(invalid(
            &self.path,
            format!("tensor `{tensor}` has NaN or infinite values"),
        ))
    }
}

fn invalid(path: &Path, reason: impl Into<String>) -> OvisImageError {
    OvisImageError::invalid_file(path, "LoRA", reason.into())
}

fn read_modules(
    path: &Path,
    source: &TensorSource,
    config: Option<&PeftConfig>,
) -> Result<BTreeMap<String, LoraModule>> {
    let mut found: BTreeMap<&str, Found<'_>> = BTreeMap::new();
    for name in source.names() {
        match keys::parse(name) {
            Key::Lora { module, role } => {
                let module = found.entry(module).or_default();
                let place = match role {
                    Role::Down => &mut module.down,
                    Role::Up => &mut module.up,
                    Role::Alpha => &mut module.alpha,
                };
                if let Some(other) = place.replace(name) {
                    return Err(invalid(
                        path,
                        format!("`{other}` and `{name}` are the same matrix of one module"),
                    ));
                }
            }
            Key::Unsupported { method } => {
                return Err(LoraError::UnsupportedAdapter {
                    path: path.to_owned(),
                    tensor: name.to_owned(),
                    method,
                }
                .into());
            }
            Key::Unknown => {
                return Err(invalid(
                    path,
                    format!(
                        "tensor `{name}` does not belong to a LoRA: names end in lora_A.weight and \
                         lora_B.weight, or lora_down.weight, lora_up.weight and alpha"
                    ),
                ));
            }
        }
    }
    found
        .into_iter()
        .map(|(name, found)| {
            let module = read_module(path, source, config, name, &found)?;
            Ok((name.to_owned(), module))
        })
        .collect()
}

fn read_module(
    path: &Path,
    source: &TensorSource,
    config: Option<&PeftConfig>,
    name: &str,
    found: &Found<'_>,
) -> Result<LoraModule> {
    let (down, up) = match (found.down, found.up) {
        (Some(down), Some(up)) => (down, up),
        (one, other) => {
            let there = one.or(other).or(found.alpha).unwrap_or(name);
            return Err(invalid(
                path,
                format!("`{there}` belongs to an incomplete module: both matrices are needed"),
            ));
        }
    };
    let shape = |tensor| source.shape(tensor).unwrap_or_default();
    let rank = match (shape(down), shape(up)) {
        ([rank, input], [out, same]) if rank == same && ![rank, input, out].contains(&&0) => *rank,
        (down_shape, up_shape) => {
            return Err(invalid(
                path,
                format!(
                    "`{down}` has shape {down_shape:?} and `{up}` {up_shape:?}; they must be [rank, in] and [out, rank]"
                ),
            ));
        }
    };
    let (alpha, rank_stabilized) = match (found.alpha, config) {
        (Some(alpha), _) => (read_number(path, source, alpha)?, false),
        (None, Some(config)) => (config.alpha(name), config.use_rslora),
        // diffusers' convention for a file without alphas.
        (None, None) => (rank as f64, false),
    };
    let scaling = scaling(alpha, rank, rank_stabilized);
    if !scaling.is_finite() {
        return Err(invalid(
            path,
            format!("the alpha of module `{name}` is too large"),
        ));
    }
    for tensor in [down, up] {
        check_readable(path, source, tensor)?;
    }
    Ok(LoraModule {
        down: down.to_owned(),
        up: up.to_owned(),
        scaling,
        alpha,
        rank_stabilized,
    })
}

/// Reads an alpha, which is a single number.
fn read_number(path: &Path, source: &TensorSource, tensor: &str) -> Result<f64> {
    check_readable(path, source, tensor)?;
    let data = source.read(tensor, WeightDtype::F32)?;
    match data.as_slice::<f32>() {
        Ok([number]) if number.is_finite() => Ok(f64::from(*number)),
        _ => Err(invalid(
            path,
            format!("`{tensor}` is not a single finite number"),
        )),
    }
}

fn check_readable(path: &Path, source: &TensorSource, tensor: &str) -> Result<()> {
    match source.encoding(tensor) {
        Some(encoding) if !encoding.is_readable() => Err(OvisImageError::unknown_dtype(
            path,
            tensor,
            encoding.to_string(),
        )),
        _ => Ok(()),
    }
}
