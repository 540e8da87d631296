//! Selection of the files in a repository that make up the checkpoint.

use std::path::{Component, Path};

use crate::checkpoint::file_names::{authors, diffusers};
use crate::error::HubFailure;

/// Marks of diffusers for additional copies of the weights, as in `model.fp16.safetensors`.
const VARIANTS: [&str; 5] = [".fp16.", ".fp16-", ".bf16.", ".bf16-", ".non_ema."];

/// Selects the files to download. Small ones come first, so that problems show early.
pub(super) fn checkpoint_files(files: &[String]) -> Result<Vec<&str>, HubFailure> {
    let has = |name: &str| files.iter().any(|file| file == name);
    let is_needed: &dyn Fn(&str) -> bool = match () {
        () if has(diffusers::INDEX) => &|file| {
            file == diffusers::INDEX
                || diffusers::FOLDERS
                    .iter()
                    .any(|folder| is_directly_in(file, folder))
        },
        () if has(authors::TRANSFORMER) => &|file| {
            [authors::TRANSFORMER, authors::VAE].contains(&file)
                || is_directly_in(file, authors::TEXT_ENCODER)
        },
        () => {
            return Err(HubFailure::NoCheckpoint {
                files: files.to_vec(),
            });
        }
    };
    // Chat templates are for diffusers, after a conversion.
    let is_read = |file: &str| {
        [".json", ".jinja", ".safetensors"]
            .iter()
            .any(|ending| file.ends_with(ending))
    };
    let mut needed: Vec<&str> = files
        .iter()
        .map(String::as_str)
        .filter(|file| is_needed(file) && is_read(file))
        .filter(|file| !VARIANTS.iter().any(|variant| file.contains(variant)))
        .collect();
    if let Some(outside) = needed.iter().find(|file| !is_inside(file)) {
        return Err(HubFailure::OutsideFolder {
            file: (*outside).to_owned(),
        });
    }
    needed.sort_by_key(|file| (file.ends_with(".safetensors"), *file));
    Ok(needed)
}

fn is_directly_in(file: &str, folder: &str) -> bool {
    file.split_once('/')
        .is_some_and(|(first, rest)| first == folder && !rest.is_empty())
}

/// Whether a path stays within the folder that it is relative to.
pub(super) fn is_inside(file: &str) -> bool {
    let is_normal = |component| matches!(component, Component::Normal(_));
    !file.is_empty() && !file.contains('\\') && Path::new(file).components().all(is_normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_stays_within_its_folder() {
        assert!(is_inside("transformer/config.json"));
        for file in ["../x", "/x", "a/../../x", "", "a\\..\\x"] {
            assert!(!is_inside(file), "{file}");
        }
    }

    fn files(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn of_a_diffusers_repository_only_the_pipeline_is_needed() {
        let files = files(&[
            ".gitattributes",
            "README.md",
            "assets/picture.png",
            "model_index.json",
            "ovis_image.safetensors",
            "scheduler/scheduler_config.json",
            "text_encoder/model.safetensors",
            "tokenizer/merges.txt",
            "tokenizer/tokenizer.json",
            "transformer/diffusion_pytorch_model.fp16.safetensors",
            "transformer/diffusion_pytorch_model.safetensors",
        ]);
        assert_eq!(
            checkpoint_files(&files).unwrap(),
            [
                "model_index.json",
                "scheduler/scheduler_config.json",
                "tokenizer/tokenizer.json",
                "text_encoder/model.safetensors",
                "transformer/diffusion_pytorch_model.safetensors",
            ]
        );
    }

    #[test]
    fn of_the_authors_files_the_three_parts_are_needed() {
        let files = files(&[
            "Ovis2.5-2B/config.json",
            "Ovis2.5-2B/model-00001-of-00002.safetensors",
            "ae.safetensors",
            "other.safetensors",
            "ovis_image.safetensors",
        ]);
        assert_eq!(
            checkpoint_files(&files).unwrap(),
            [
                "Ovis2.5-2B/config.json",
                "Ovis2.5-2B/model-00001-of-00002.safetensors",
                "ae.safetensors",
                "ovis_image.safetensors",
            ]
        );
    }

    #[test]
    fn names_that_leave_their_folder_are_refused() {
        let files = files(&["model_index.json", "transformer/../../x.json"]);
        let failure = checkpoint_files(&files).unwrap_err();
        assert!(matches!(failure, HubFailure::OutsideFolder { .. }));
    }

    #[test]
    fn another_repository_is_no_checkpoint() {
        let failure = checkpoint_files(&files(&["model.onnx"])).unwrap_err();
        assert!(failure.to_string().contains("model.onnx"), "{failure}");
    }
}
