//! Tests of weights files that are damaged or lie about themselves.

use std::fs;
use std::path::Path;

use ovis_image::error::CheckpointError;
use ovis_image::{Checkpoint, OvisImageError};
use ovis_image_tests::error_chain::chain;
use ovis_image_tests::golden::golden_folder;
use ovis_image_tests::layouts::copy_folder;
use safetensors::tensor::Dtype;

use super::{TRANSFORMER, error_after, is_invalid_file, rewrite};
use crate::support::{damaged, load};

/// Writes a file with a custom header and `data` bytes of data.
fn write_header(path: &Path, header: &str, data: usize) {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(vec![0u8; data]);
    fs::write(path, bytes).unwrap();
}

#[test]
fn files_that_are_not_safetensors_are_refused() {
    let error = error_after(|folder| {
        fs::write(folder.join(TRANSFORMER), b"<html>not found</html>").unwrap()
    });
    is_invalid_file(&error, TRANSFORMER, "not a safetensors file");
    let error = error_after(|folder| fs::write(folder.join(TRANSFORMER), b"").unwrap());
    is_invalid_file(&error, TRANSFORMER, "truncated");
    let error = error_after(|folder| write_header(&folder.join(TRANSFORMER), "not json", 0));
    is_invalid_file(&error, TRANSFORMER, "not JSON");
    let error = error_after(|folder| {
        fs::remove_file(folder.join(TRANSFORMER)).unwrap();
        fs::create_dir(folder.join(TRANSFORMER)).unwrap();
    });
    assert!(
        matches!(
            &error,
            OvisImageError::Checkpoint(CheckpointError::InvalidFile { .. })
                | OvisImageError::Checkpoint(CheckpointError::Io { .. })
        ),
        "{error}"
    );
}

#[test]
fn truncated_files_name_the_first_tensor_cut_off() {
    let error = error_after(|folder| {
        let path = folder.join(TRANSFORMER);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    });
    is_invalid_file(&error, TRANSFORMER, "tensor `");
    is_invalid_file(&error, TRANSFORMER, "truncated");
}

#[test]
fn headers_that_lie_are_refused_at_every_length() {
    for header in [
        r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,1000]}}"#,
        r#"{"a":{"dtype":"F32","shape":[5],"data_offsets":[0,16]}}"#,
        r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[16,0]}}"#,
        r#"{"a":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,16]}}"#,
        r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,18446744073709551615]}}"#,
        r#"{"a":{"dtype":"F32","shape":[4.5],"data_offsets":[0,16]}}"#,
        r#"{"a":{"dtype":"F32","shape":[-4],"data_offsets":[0,16]}}"#,
        r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[0]}}"#,
        r#"{"a":{"dtype":"F32","shape":[4]}}"#,
        r#"{"a":null}"#,
    ] {
        let error = error_after(|folder| write_header(&folder.join(TRANSFORMER), header, 16));
        assert!(chain(&error).contains("`a`"), "{header}: {error}");
    }
    let error = error_after(|folder| {
        fs::write(folder.join(TRANSFORMER), u64::MAX.to_le_bytes()).unwrap();
    });
    is_invalid_file(&error, TRANSFORMER, "header claims");
    // Holes and overlaps between tensors are the safetensors crate's to find.
    for offsets in ["[4,12]", "[0,8]"] {
        let header = format!(
            r#"{{"a":{{"dtype":"F32","shape":[2],"data_offsets":[0,8]}},"b":{{"dtype":"F32","shape":[2],"data_offsets":{offsets}}}}}"#
        );
        let error = error_after(|folder| write_header(&folder.join(TRANSFORMER), &header, 16));
        assert!(
            matches!(
                &error,
                OvisImageError::Checkpoint(CheckpointError::InvalidFile { .. })
            ),
            "{error}"
        );
    }
}

#[test]
fn every_prefix_of_a_file_is_an_error() {
    let bytes =
        fs::read(golden_folder().join("base/model/vae/diffusion_pytorch_model.safetensors"))
            .unwrap();
    let folder = damaged(|_| ());
    let path = folder
        .path()
        .join("vae/diffusion_pytorch_model.safetensors");
    for length in (0..bytes.len()).step_by(bytes.len() / 97) {
        fs::write(&path, &bytes[..length]).unwrap();
        assert!(
            Checkpoint::open(folder.path()).is_err(),
            "{length} bytes were accepted"
        );
    }
}

#[test]
fn unknown_and_unreadable_dtypes_name_the_tensor() {
    let error = error_after(|folder| {
        write_header(
            &folder.join(TRANSFORMER),
            r#"{"w":{"dtype":"Q4","shape":[4],"data_offsets":[0,16]}}"#,
            16,
        );
    });
    assert!(
        matches!(&error, OvisImageError::Checkpoint(CheckpointError::UnknownDtype { tensor, dtype, .. }) if tensor == "w" && dtype == "Q4"),
        "{error}"
    );

    let error = error_after(|folder| {
        rewrite(&folder.join(TRANSFORMER), |name, dtype, shape| {
            let dtype = if name == "x_embedder.bias" {
                Dtype::I16
            } else {
                dtype
            };
            Some((name.into(), dtype, shape))
        });
    });
    assert!(
        matches!(&error, OvisImageError::Checkpoint(CheckpointError::UnknownDtype { tensor, .. }) if tensor == "x_embedder.bias"),
        "{error}"
    );
}

#[test]
fn shard_indices_are_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&golden_folder().join("head64_sharded/model"), folder.path());
    assert!(load(folder.path().to_owned()).is_ok());
    let index = fs::read_dir(folder.path().join("transformer"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().ends_with(".index.json"))
        .unwrap();
    let original = fs::read_to_string(&index).unwrap();
    let json: serde_json::Value = serde_json::from_str(&original).unwrap();
    let edited = |edit: &dyn Fn(&mut serde_json::Map<String, serde_json::Value>)| {
        let mut json = json.clone();
        edit(json["weight_map"].as_object_mut().unwrap());
        fs::write(&index, json.to_string()).unwrap();
        load(folder.path().to_owned()).unwrap_err()
    };
    for outside in [
        "../vae/diffusion_pytorch_model.safetensors",
        "/etc/passwd",
        "..",
        "",
    ] {
        let error = edited(&|map| {
            map.insert("x_embedder.bias".into(), outside.into());
        });
        assert!(chain(&error).contains("outside its folder"), "{error}");
    }
    let error = edited(&|map| {
        map.insert("x_embedder.bias".into(), "gone.safetensors".into());
    });
    assert!(
        matches!(&error, OvisImageError::Checkpoint(CheckpointError::NotFound { path, .. }) if path.ends_with("gone.safetensors")),
        "{error}"
    );
    let error = edited(&|map| {
        map.insert("no.such.tensor".into(), map["x_embedder.bias"].clone());
    });
    assert!(
        chain(&error).contains("`no.such.tensor` is not in"),
        "{error}"
    );
    let error = edited(&|map| map.clear());
    assert!(chain(&error).contains("empty"), "{error}");
    fs::write(&index, "[]").unwrap();
    assert!(matches!(
        load(folder.path().to_owned()),
        Err(OvisImageError::Checkpoint(CheckpointError::InvalidFile {
            format: "shard index",
            ..
        }))
    ));
}
