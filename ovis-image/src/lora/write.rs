//! Writing of LoRA files.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::{Dtype, View};
use serde_json::{Value, json};

use super::file::LoraFile;
use super::format::LoraFormat;
use super::keys::bare_module;
use super::matrix::Matrix;
use super::peft::{METADATA, scaling};
use super::update::LoraUpdate;
use crate::error::{LoraError, OvisImageError, Result};
use crate::weights::comfyui_name;

/// Writes modules of the format's naming beside the target, reads the file back, and moves it.
/// `known` are all modules of the model.
pub(super) fn save(
    path: &Path,
    format: LoraFormat,
    modules: &[LoraUpdate],
    known: &[String],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let part = path.with_extension("part.safetensors");
    let mut header: HashMap<String, String> = metadata.clone().into_iter().collect();
    header.insert("format".to_owned(), "pt".to_owned());
    header.extend(statement(modules));
    if format == LoraFormat::Peft {
        let config = peft_config(modules, known).to_string();
        header.insert(METADATA.to_owned(), config);
    }
    let tensors = modules.iter().flat_map(|module| tensors(format, module));
    let written = safetensors::serialize_to_file(tensors, Some(header), &part)
        .map_err(|error| OvisImageError::io(&part, std::io::Error::other(error)))
        .and_then(|()| compare(&part, format, modules))
        .and_then(|()| {
            std::fs::rename(&part, path).map_err(|error| OvisImageError::io(path, error))
        });
    written.inspect_err(|_| {
        // What is left of it is of no use, and the disk may be full.
        let _ = std::fs::remove_file(&part);
    })
}

impl LoraFormat {
    /// Returns whether the file has a tensor with the alpha of each module.
    fn has_alphas(self) -> bool {
        self != Self::Peft
    }

    /// Returns the beginning of a module's keys.
    fn key(self, module: &str) -> String {
        let comfyui = || {
            let name = comfyui_name(&format!("{module}.weight"));
            name.trim_end_matches(".weight").to_owned()
        };
        match self {
            Self::Peft => format!("transformer.{module}"),
            Self::Kohya => format!("lora_unet_{}", comfyui().replace('.', "_")),
            Self::ComfyUi => format!("diffusion_model.{}", comfyui()),
        }
    }

    /// Returns the endings of the keys of the down and up projections.
    fn endings(self) -> [&'static str; 2] {
        match self {
            Self::Peft | Self::ComfyUi => ["lora_A.weight", "lora_B.weight"],
            Self::Kohya => ["lora_down.weight", "lora_up.weight"],
        }
    }
}

/// Tensor in f32.
struct Stored {
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Stored {
    fn new(shape: Vec<usize>, values: &[f32]) -> Self {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes());
        Self {
            shape,
            bytes: bytes.collect(),
        }
    }
}

impl View for Stored {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

fn tensors(format: LoraFormat, module: &LoraUpdate) -> Vec<(String, Stored)> {
    let key = format.key(&module.name);
    let [down, up] = format.endings();
    let mut tensors: Vec<(String, Stored)> = [(down, &module.down), (up, &module.up)]
        .into_iter()
        .map(|(ending, matrix)| {
            let stored = Stored::new(vec![matrix.rows, matrix.columns], &matrix.values);
            (format!("{key}.{ending}"), stored)
        })
        .collect();
    if format.has_alphas() {
        let alpha = Stored::new(Vec::new(), &[plain_alpha(module) as f32]);
        tensors.push((format!("{key}.alpha"), alpha));
    }
    tensors
}

/// Returns the alpha over the rank that has the effect of the module's.
fn plain_alpha(module: &LoraUpdate) -> f64 {
    if module.rank_stabilized {
        module.scaling_f64() * module.down.rows as f64
    } else {
        module.alpha
    }
}

/// Returns rank and alpha of the whole file as kohya's scripts state them.
fn statement(modules: &[LoraUpdate]) -> BTreeMap<String, String> {
    let stated = |values: Vec<String>| match values.split_first() {
        Some((first, others)) if others.iter().all(|other| other == first) => first.clone(),
        _ => "Dynamic".to_owned(),
    };
    let ranks = modules.iter().map(|module| module.down.rows.to_string());
    let alphas = modules.iter().map(|module| module.alpha.to_string());
    BTreeMap::from([
        ("ss_network_dim".to_owned(), stated(ranks.collect())),
        ("ss_network_alpha".to_owned(), stated(alphas.collect())),
    ])
}

/// Returns the fields of PEFT's `LoraConfig` that describe the modules, as a pipeline of diffusers
/// stores them.
fn peft_config(modules: &[LoraUpdate], known: &[String]) -> Value {
    // PEFT has one flag for all modules.
    let stabilized = modules.iter().all(|module| module.rank_stabilized);
    let alpha_of = |module: &LoraUpdate| {
        if stabilized {
            module.alpha
        } else {
            plain_alpha(module)
        }
    };
    let rank = most_common(modules.iter().map(|module| module.down.rows));
    let alpha = most_common(modules.iter().map(|module| alpha_of(module).to_bits()));
    let alpha = alpha.map(f64::from_bits);
    let mut ranks = serde_json::Map::new();
    let mut alphas = serde_json::Map::new();
    for module in modules {
        // PEFT takes a name as the end of others too, unless it is anchored.
        let key = || format!("^{}", module.name);
        if Some(module.down.rows) != rank {
            ranks.insert(key(), json!(module.down.rows));
        }
        if Some(alpha_of(module)) != alpha {
            alphas.insert(key(), json!(alpha_of(module)));
        }
    }
    json!({
        "transformer.peft_type": "LORA",
        "transformer.r": rank,
        "transformer.lora_alpha": alpha,
        "transformer.use_rslora": stabilized,
        "transformer.rank_pattern": ranks,
        "transformer.alpha_pattern": alphas,
        "transformer.target_modules": target_modules(modules, known),
        "transformer.bias": "none",
        "transformer.use_dora": false,
    })
}

/// Returns the names of the modules, or an expression that matches them if their names are the ends
/// of others too: `proj_out` in a list would also select those of the single blocks.
fn target_modules(modules: &[LoraUpdate], known: &[String]) -> Value {
    let names: Vec<&str> = modules.iter().map(|module| module.name.as_str()).collect();
    let selects_more = known.iter().any(|known| {
        let ends = known.match_indices('.').map(|(dot, _)| &known[dot + 1..]);
        let mut ends = ends.filter(|end| names.contains(end));
        !names.contains(&known.as_str()) && ends.next().is_some()
    });
    if selects_more {
        let escaped: Vec<String> = names.iter().map(|name| name.replace('.', r"\.")).collect();
        json!(escaped.join("|"))
    } else {
        json!(names)
    }
}

/// Compares a written file with the modules.
fn compare(path: &Path, format: LoraFormat, modules: &[LoraUpdate]) -> Result<()> {
    let differs = |problem: String| LoraError::ExportDiffers {
        path: path.to_owned(),
        problem,
    };
    let file = LoraFile::open(path)?;
    if file.modules().len() != modules.len() {
        return Err(differs(format!("it has {} modules", file.modules().len())).into());
    }
    for module in modules {
        let key = format.key(&module.name);
        let Some((down, up, found)) = file.matrices(bare_module(&key))? else {
            return Err(differs(format!("it lacks `{key}`")).into());
        };
        let rank = module.down.rows;
        let expected = if format.has_alphas() {
            // Alphas are stored in f32.
            scaling(f64::from(plain_alpha(module) as f32), rank, false)
        } else {
            module.scaling_f64() as f32
        };
        let close = (found - expected).abs() <= 1e-6 * expected.abs();
        let [down, up] = [down, up].map(Matrix::from_data);
        let same = down.is_same(&module.down) && up.is_same(&module.up);
        if !same || !close {
            return Err(differs(format!("`{key}` differs")).into());
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_programs() {
        let key = |format: LoraFormat, module| format.key(module);
        let block = "double_blocks.0.img_attn.qkv";
        assert_eq!(
            key(LoraFormat::Kohya, block),
            "lora_unet_double_blocks_0_img_attn_qkv"
        );
        assert_eq!(
            key(LoraFormat::ComfyUi, block),
            format!("diffusion_model.{block}")
        );
        assert_eq!(
            key(LoraFormat::ComfyUi, "semantic_txt_in"),
            "diffusion_model.txt_in"
        );
        assert_eq!(key(LoraFormat::Peft, "proj_out"), "transformer.proj_out");
    }
}
