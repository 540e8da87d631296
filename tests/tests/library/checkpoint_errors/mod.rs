//! Tests of damaged and hostile checkpoints: a typed error names the file and the tensor, and
//! nothing panics.

mod configs;
mod files;
mod paths;
mod tensors;
mod tokenizers;

use std::fs;
use std::path::Path;

use ovis_image::OvisImageError;
use ovis_image::error::CheckpointError;
use ovis_image_tests::error_chain::chain;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::support::{damaged, load};

const TRANSFORMER: &str = "transformer/diffusion_pytorch_model.safetensors";

fn error_after(damage: impl FnOnce(&Path)) -> OvisImageError {
    let folder = damaged(damage);
    load(folder.path().to_owned()).unwrap_err()
}

/// Rewrites a safetensors file; `edit` may drop, rename, reshape or retype each tensor.
fn rewrite(
    path: &Path,
    edit: impl Fn(&str, Dtype, Vec<usize>) -> Option<(String, Dtype, Vec<usize>)>,
) {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.tensors();
    let edited: Vec<(String, TensorView<'_>)> = tensors
        .iter()
        .filter_map(|(name, view)| {
            let (name, dtype, shape) = edit(name, view.dtype(), view.shape().to_vec())?;
            Some((name, TensorView::new(dtype, shape, view.data()).unwrap()))
        })
        .collect();
    safetensors::serialize_to_file(edited, None, path).unwrap();
}

#[track_caller]
fn is_invalid_file(error: &OvisImageError, file: &str, part_of_reason: &str) {
    match error {
        OvisImageError::Checkpoint(CheckpointError::InvalidFile { path, .. }) => {
            assert!(path.ends_with(file), "{error}");
            assert!(chain(error).contains(part_of_reason), "{error}");
        }
        other => panic!("{other}"),
    }
}

/// Changes one value of a JSON file.
fn set(path: &Path, key: &str, value: serde_json::Value) {
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    json[key] = value;
    fs::write(path, json.to_string()).unwrap();
}
