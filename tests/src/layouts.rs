//! A model in all three layouts. Its weights follow a rule (`golden/layouts/weights.json`), so that
//! 20 MB need not be committed; `tests/reference/layouts.py` wrote the rule from its own
//! implementation of the key table.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::Deserialize;

use crate::golden::golden_folder;

#[derive(Deserialize)]
struct Recipe {
    tensors: HashMap<String, TensorRule>,
    files: BTreeMap<String, BTreeMap<String, FileTensor>>,
}

#[derive(Deserialize)]
struct TensorRule {
    shape: Vec<usize>,
    seed: String,
    step: f64,
    offset: f64,
}

#[derive(Deserialize)]
struct FileTensor {
    shape: Vec<usize>,
    parts: Vec<(String, usize, usize)>,
    checksum: String,
}

/// Writes `diffusers/`, `authors/` and `comfyui/` into a folder. The ComfyUI folder has no
/// tokenizer, as published.
///
/// # Panics
/// Panics if the recipe and the files made from it disagree.
#[allow(clippy::expect_used)]
pub fn write_layouts(folder: &Path) {
    let source = golden_folder().join("layouts");
    for layout in ["diffusers", "authors"] {
        copy_folder(&source.join(layout), &folder.join(layout));
    }
    let text = std::fs::read(source.join("weights.json")).expect("weights.json is committed");
    let recipe: Recipe =
        serde_json::from_slice(&text).expect("weights.json has the fields of Recipe");
    let values: HashMap<&String, Vec<u16>> = recipe
        .tensors
        .iter()
        .map(|(key, rule)| (key, rule.values()))
        .collect();

    for (path, tensors) in &recipe.files {
        let data: Vec<(&String, Vec<u8>)> = tensors
            .iter()
            .map(|(name, tensor)| {
                let joined: Vec<u16> = tensor
                    .parts
                    .iter()
                    .flat_map(|(key, first, end)| {
                        let row = recipe.tensors[key].shape[1..].iter().product::<usize>();
                        values[key][first * row..end * row].iter().copied()
                    })
                    .collect();
                let checksum = joined
                    .iter()
                    .zip(1u64..)
                    .fold(0u64, |sum, (bits, position)| {
                        sum.wrapping_add(position.wrapping_mul(u64::from(*bits)))
                    });
                assert_eq!(checksum.to_string(), tensor.checksum, "{path}: {name}");
                (
                    name,
                    joined.iter().flat_map(|bits| bits.to_le_bytes()).collect(),
                )
            })
            .collect();
        let views = data.iter().map(|(name, bytes)| {
            let shape = tensors[*name].shape.clone();
            (
                *name,
                TensorView::new(Dtype::BF16, shape, bytes).expect("shape and bytes agree"),
            )
        });
        let path = folder.join(path);
        std::fs::create_dir_all(path.parent().expect("a file in a folder"))
            .expect("a temporary folder");
        safetensors::serialize_to_file(views, None, &path).expect("a temporary file");
    }
}

impl TensorRule {
    /// Value i is `offset + step * (2k - 31)`, where k is the top five bits of splitmix64's output
    /// i.
    #[allow(clippy::expect_used)]
    fn values(&self) -> Vec<u16> {
        let seed = u64::from_str_radix(&self.seed, 16).expect("a hexadecimal seed");
        (0..self.shape.iter().product::<usize>())
            .map(|i| {
                let k = splitmix64(
                    seed.wrapping_add((i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)),
                ) >> 59;
                let value = self.offset + self.step * (2.0 * k as f64 - 31.0);
                half::bf16::from_f64(value).to_bits()
            })
            .collect()
    }
}

/// Output function of Vigna's splitmix64.
fn splitmix64(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Copies a folder with its subfolders.
///
/// # Panics
/// Panics if a file cannot be read or written.
#[allow(clippy::expect_used)]
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a temporary folder");
    for entry in std::fs::read_dir(from).expect("a committed folder") {
        let entry = entry.expect("a committed file");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a temporary file");
        }
    }
}
