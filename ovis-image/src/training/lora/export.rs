//! Adapters as a file that diffusers and PEFT read: PEFT's keys, and its configuration in the
//! metadata, as diffusers writes it.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use serde_json::{Value, json};

use super::adapters::LoraAdapters;
use crate::error::{LoraError, OvisImageError, Result};
use crate::lora::{LoraFile, METADATA};
use crate::training::stored_tensor::StoredTensor;

/// Model's name before each key and field, as pipelines of diffusers write it.
const PREFIX: &str = "transformer";

impl<B: Backend> LoraAdapters<B> {
    /// Writes the adapters in f32 to a file that diffusers, PEFT and [`LoraFile`] read, reads it
    /// back, and compares it. An existing file is replaced when the new one is complete.
    /// `metadata` is stored in its header.
    ///
    /// # Errors
    /// Returns [`CheckpointError::Io`](crate::error::CheckpointError::Io),
    /// [`LoraError::InvalidAlpha`] if an alpha has become one, or [`LoraError::ExportDiffers`].
    pub fn save(&self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<()> {
        let part = path.with_extension("part.safetensors");
        let written = self
            .write(&part, metadata)
            .and_then(|()| self.compare(&part))
            .and_then(|()| {
                std::fs::rename(&part, path).map_err(|error| OvisImageError::io(path, error))
            });
        written.inspect_err(|_| {
            // What is left of it is of no use, and the disk may be full.
            let _ = std::fs::remove_file(&part);
        })
    }

    fn write(&self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<()> {
        let mut header: HashMap<String, String> = metadata.clone().into_iter().collect();
        header.insert("format".to_owned(), "pt".to_owned());
        header.insert(METADATA.to_owned(), self.peft_config().to_string());
        let tensors = self.modules().iter().flat_map(|module| {
            let matrices = [("lora_A", &module.down), ("lora_B", &module.up)];
            matrices.map(|(matrix, parameter)| {
                let tensor: Tensor<B, 2> = parameter.val();
                let shape = tensor.dims();
                let values = tensor.reshape([shape[0] * shape[1]]);
                let name = format!("{PREFIX}.{}.{matrix}.weight", module.name);
                (name, StoredTensor::new(values, shape.to_vec()))
            })
        });
        safetensors::serialize_to_file(tensors, Some(header), path)
            .map_err(|error| OvisImageError::io(path, std::io::Error::other(error)))
    }

    /// Returns the fields of PEFT's `LoraConfig` that describe the adapters.
    fn peft_config(&self) -> Value {
        let modules = self.modules();
        let rank = most_common(modules.iter().map(|module| module.rank()));
        let alpha = most_common(modules.iter().map(|module| module.alpha.to_bits()));
        let alpha = alpha.map(f64::from_bits);
        let mut ranks = serde_json::Map::new();
        let mut alphas = serde_json::Map::new();
        for module in modules {
            // PEFT takes a name as the end of others too, unless it is anchored.
            let key = || format!("^{}", module.name);
            if Some(module.rank()) != rank {
                ranks.insert(key(), json!(module.rank()));
            }
            if Some(module.alpha) != alpha {
                alphas.insert(key(), json!(module.alpha));
            }
        }
        let names: Vec<&str> = modules.iter().map(|module| module.name.as_str()).collect();
        json!({
            "transformer.peft_type": "LORA",
            "transformer.r": rank,
            "transformer.lora_alpha": alpha,
            "transformer.use_rslora": modules.iter().any(|module| module.rank_stabilized),
            "transformer.rank_pattern": ranks,
            "transformer.alpha_pattern": alphas,
            "transformer.target_modules": names,
            "transformer.bias": "none",
            "transformer.use_dora": false,
        })
    }

    /// Compares a written file with the adapters.
    fn compare(&self, path: &Path) -> Result<()> {
        let differs = |problem: String| LoraError::ExportDiffers {
            path: path.to_owned(),
            problem,
        };
        let file = LoraFile::open(path)?;
        if file.modules().len() != self.modules().len() {
            return Err(differs(format!("it has {} modules", file.modules().len())).into());
        }
        for module in self.modules() {
            let Some((down, up, scaling)) = file.matrices(&module.name)? else {
                return Err(differs(format!("it lacks `{}`", module.name)).into());
            };
            let same = |found: burn::tensor::TensorData, ours: &Tensor<B, 2>| {
                let ours = ours.clone().into_data().convert::<f32>();
                found.shape == ours.shape && found.as_bytes() == ours.as_bytes()
            };
            let equal = same(down, &module.down.val()) && same(up, &module.up.val());
            if !equal || scaling != module.scaling() {
                return Err(differs(format!("`{}` differs", module.name)).into());
            }
        }
        Ok(())
    }
}

/// Returns the most frequent value; of several, the smallest.
fn most_common<T: Ord + Copy>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: BTreeMap<T, usize> = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    let most = counts.values().copied().max()?;
    counts
        .into_iter()
        .find(|(_, count)| *count == most)
        .map(|(value, _)| value)
}
