//! Updates of a LoRA in memory, from any format and to any format.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::TensorData;

use super::attach::match_modules;
use super::file::LoraFile;
use super::format::LoraFormat;
use super::matrix::Matrix;
use super::regroup::{PlacedRows, PlacedUpdate, place, regroup};
use super::targets::Targets;
use super::write;
use crate::config::TransformerConfig;
use crate::error::{LoraError, Result};
use crate::weights::TransformerNaming;

/// Update of a module: `alpha / rank * up * down`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LoraUpdate {
    pub(crate) name: String,
    /// Down projection, `[rank, in]`.
    pub(crate) down: Matrix,
    /// Up projection, `[out, rank]`.
    pub(crate) up: Matrix,
    pub(crate) alpha: f64,
    /// True if alpha is divided by the root of the rank instead of the rank.
    pub(crate) rank_stabilized: bool,
}

impl LoraUpdate {
    /// Returns the factor of the product of both matrices, before it is rounded to f32.
    pub(super) fn scaling_f64(&self) -> f64 {
        let rank = self.down.rows as f64;
        let divisor = if self.rank_stabilized {
            rank.sqrt()
        } else {
            rank
        };
        self.alpha / divisor
    }
}

/// Updates of a transformer's modules, by diffusers' names.
#[derive(Debug, Clone)]
pub struct LoraUpdates {
    /// Path and `[out, in]` of the transformer's linear layers.
    layers: Vec<(String, [usize; 2])>,
    modules: Vec<LoraUpdate>,
}

impl LoraUpdates {
    #[cfg(any(feature = "extract-lora", feature = "train"))]
    pub(crate) fn new(layers: Vec<(String, [usize; 2])>, modules: Vec<LoraUpdate>) -> Self {
        Self { layers, modules }
    }

    /// Reads an adapter in any format. Fused modules are divided into those of diffusers.
    ///
    /// # Errors
    /// Returns [`LoraError`] if the adapter was made for another model, or the errors of reading
    /// the file.
    pub fn read(file: &LoraFile, config: &TransformerConfig) -> Result<Self> {
        let layers = layers_of(config);
        let placed = read_placed(file, &layers)?;
        let modules = regroup(&placed, TransformerNaming::Diffusers, &layers);
        Ok(Self { layers, modules })
    }

    /// Returns the names of the modules, in order.
    pub fn modules(&self) -> impl ExactSizeIterator<Item = &str> {
        self.modules.iter().map(|module| module.name.as_str())
    }

    /// Writes the updates in f32, reads the file back, and compares it. An existing file is
    /// replaced when the new one is complete. `metadata` is stored in its header.
    ///
    /// # Errors
    /// Returns [`CheckpointError::Io`](crate::error::CheckpointError::Io),
    /// [`LoraError::InvalidAlpha`] or [`LoraError::ExportDiffers`].
    pub fn save(
        &self,
        path: &Path,
        format: LoraFormat,
        metadata: &BTreeMap<String, String>,
    ) -> Result<()> {
        for module in &self.modules {
            if !module.alpha.is_finite() {
                let (module, alpha) = (module.name.clone(), module.alpha);
                return Err(LoraError::InvalidAlpha { module, alpha }.into());
            }
        }
        let known = || {
            let table = crate::weights::NameTable::transformer(format.naming());
            let layers = self.layers.iter();
            let shares = layers.flat_map(move |(path, shape)| table.row_shares(path, *shape));
            shares.map(|share| share.module).collect::<Vec<String>>()
        };
        match format {
            LoraFormat::Peft => write::save(path, format, &self.modules, &known(), metadata),
            LoraFormat::Kohya | LoraFormat::ComfyUi => {
                let placed = place(&self.modules, TransformerNaming::Diffusers, &self.layers);
                let fused = regroup(&placed, format.naming(), &self.layers);
                write::save(path, format, &fused, &known(), metadata)
            }
        }
    }
}

/// Returns path and `[out, in]` of each linear layer of a transformer.
pub(crate) fn layers_of(config: &TransformerConfig) -> Vec<(String, [usize; 2])> {
    let parameters = config.parameters().into_iter();
    parameters
        .filter_map(|parameter| {
            let path = parameter.path.strip_suffix(".weight")?;
            let shape = <[usize; 2]>::try_from(parameter.shape.as_slice()).ok()?;
            Some((path.to_owned(), shape))
        })
        .collect()
}

/// Reads all modules of an adapter, with their places.
pub(super) fn read_placed(
    file: &LoraFile,
    layers: &[(String, [usize; 2])],
) -> Result<Vec<PlacedUpdate>> {
    let targets = Targets::new(layers);
    let matched = match_modules(file, &targets, layers)?;
    if let Some(module) = matched.unmatched.into_iter().next() {
        let path = file.path().to_owned();
        return Err(LoraError::UnknownModule { path, module }.into());
    }
    let modules = matched.modules.into_iter();
    modules
        .map(|(module, targets)| {
            let matrix = |tensor| Ok::<_, crate::OvisImageError>(matrix_of(file.read(tensor)?));
            Ok(PlacedUpdate {
                update: LoraUpdate {
                    name: module.down.clone(),
                    down: matrix(&module.down)?,
                    up: matrix(&module.up)?,
                    alpha: module.alpha,
                    rank_stabilized: module.rank_stabilized,
                },
                rows: targets
                    .iter()
                    .map(|target| PlacedRows {
                        layer: target.layer,
                        theirs: target.share.theirs.clone(),
                        first_row: target.share.ours.start,
                    })
                    .collect(),
            })
        })
        .collect()
}

/// Converts data with two axes.
pub(crate) fn matrix_of(data: TensorData) -> Matrix {
    let shape: Vec<usize> = data.shape.to_vec();
    Matrix {
        rows: shape[0],
        columns: shape[1],
        values: data.iter::<f32>().collect(),
    }
}
