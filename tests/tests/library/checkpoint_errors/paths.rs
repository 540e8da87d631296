//! Tests of folders and paths at which parts of a checkpoint are missing.

use std::fs;
use std::path::Path;

use ovis_image::error::CheckpointError;
use ovis_image::{Checkpoint, CheckpointPaths, OvisImageError};
use ovis_image_tests::error_chain::chain;

use super::{TRANSFORMER, error_after, is_invalid_file};
use crate::support::base_model;

#[test]
fn a_missing_folder_is_named() {
    let error = Checkpoint::open("/nowhere/at/all").unwrap_err();
    assert!(
        matches!(&error, OvisImageError::Checkpoint(CheckpointError::NotFound { path, .. }) if path == Path::new("/nowhere/at/all")),
        "{error}"
    );
}

#[test]
fn a_folder_of_no_layout_lists_the_layouts() {
    let folder = tempfile::tempdir().unwrap();
    let error = Checkpoint::open(folder.path()).unwrap_err();
    assert!(matches!(
        error,
        OvisImageError::Checkpoint(CheckpointError::UnknownLayout { .. })
    ));
    for name in ["diffusers", "ovis_image.safetensors", "diffusion_models"] {
        assert!(chain(&error).contains(name), "{error}");
    }
}

#[test]
fn missing_parts_are_named() {
    for part in ["transformer", "vae", "text_encoder", "tokenizer"] {
        let error = error_after(|folder| fs::remove_dir_all(folder.join(part)).unwrap());
        assert!(
            matches!(&error, OvisImageError::Checkpoint(CheckpointError::NotFound { path, .. }) if path.ends_with(part)),
            "{error}"
        );
    }
    for file in [TRANSFORMER, "tokenizer/tokenizer.json"] {
        let error = error_after(|folder| fs::remove_file(folder.join(file)).unwrap());
        assert!(
            matches!(&error, OvisImageError::Checkpoint(CheckpointError::NotFound { path, .. }) if path.ends_with(file)),
            "{error}"
        );
    }
}

#[test]
fn a_part_given_by_a_wrong_path_is_named() {
    let base = CheckpointPaths::discover(base_model()).unwrap();
    for break_it in [
        |paths: &mut CheckpointPaths| paths.transformer = "/no/file".into(),
        |paths: &mut CheckpointPaths| paths.vae = "/no/file".into(),
        |paths: &mut CheckpointPaths| paths.text_encoder = "/no/file".into(),
        |paths: &mut CheckpointPaths| paths.tokenizer = "/no/file".into(),
    ] {
        let mut paths = base.clone();
        break_it(&mut paths);
        let error = Checkpoint::open_paths(&paths).unwrap_err();
        assert!(
            matches!(&error, OvisImageError::Checkpoint(CheckpointError::NotFound { path, .. }) if path == Path::new("/no/file")),
            "{error}"
        );
    }
    // Swapped parts: each error says that the part is not what it should be.
    let mut paths = base.clone();
    std::mem::swap(&mut paths.transformer, &mut paths.vae);
    let error = Checkpoint::open_paths(&paths).unwrap_err();
    assert!(
        matches!(
            &error,
            OvisImageError::Checkpoint(CheckpointError::InvalidFile { .. })
                | OvisImageError::Checkpoint(CheckpointError::UnknownNaming { .. })
        ),
        "{error}"
    );
}

#[test]
fn several_weight_files_without_an_index_are_ambiguous() {
    let error = error_after(|folder| {
        let path = folder.join(TRANSFORMER);
        fs::copy(&path, folder.join("transformer/a.safetensors")).unwrap();
        fs::rename(&path, folder.join("transformer/b.safetensors")).unwrap();
    });
    is_invalid_file(&error, "transformer", "several weight files");
}
