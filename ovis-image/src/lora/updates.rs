//! Updates of a LoRA in memory, from any format and to any format.

use std::collections::BTreeMap;
use std::path::Path;

use super::attach::match_modules;
use super::file::LoraFile;
use super::format::LoraFormat;
use super::matrix::Matrix;
use super::regroup::{PlacedUpdate, place, regroup};
use super::targets::Targets;
use super::update::LoraUpdate;
use super::write;
use crate::config::TransformerConfig;
use crate::error::{LoraError, Result};
use crate::weights::TransformerNaming;

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
            let matrix = |tensor| file.read(tensor).map(Matrix::from_data);
            Ok(PlacedUpdate {
                update: LoraUpdate {
                    name: module.down.clone(),
                    down: matrix(&module.down)?,
                    up: matrix(&module.up)?,
                    alpha: module.alpha,
                    rank_stabilized: module.rank_stabilized,
                },
                rows: targets.to_vec(),
            })
        })
        .collect()
}
