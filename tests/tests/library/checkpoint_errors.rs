//! Tests of damaged and hostile checkpoints: a typed error names the file and the tensor, and
//! nothing panics.

use std::fs;
use std::path::Path;

use ovis_image::error::{CheckpointError, WeightsReport};
use ovis_image::text_encoder::PromptTokenizer;
use ovis_image::{Checkpoint, CheckpointPaths, OvisImageError};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::support::{base_model, damaged, load, request};
use ovis_image_tests::error_chain::chain;
use ovis_image_tests::golden::golden_folder;
use ovis_image_tests::layouts::copy_folder;

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

fn report(error: OvisImageError) -> WeightsReport {
    match error {
        OvisImageError::Checkpoint(CheckpointError::Weights(report)) => *report,
        other => panic!("{other}"),
    }
}

/// Writes a file with a custom header and `data` bytes of data.
fn write_header(path: &Path, header: &str, data: usize) {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(vec![0u8; data]);
    fs::write(path, bytes).unwrap();
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
fn missing_unexpected_and_misshapen_tensors_come_in_one_error() {
    let error = error_after(|folder| {
        rewrite(
            &folder.join(TRANSFORMER),
            |name, dtype, mut shape| match name {
                "proj_out.bias" => None,
                "transformer_blocks.0.attn.to_k.weight" => None,
                "x_embedder.weight" => {
                    shape.reverse();
                    Some((name.into(), dtype, shape))
                }
                "norm_out.linear.bias" => Some(("norm_out.linear.bias_v2".into(), dtype, shape)),
                _ => Some((name.into(), dtype, shape)),
            },
        );
    });
    let text = error.to_string();
    let report = report(error);
    assert_eq!(report.part, "transformer");
    assert_eq!(
        report.missing,
        [
            "transformer_blocks.0.attn.to_k.weight",
            "norm_out.linear.bias",
            "proj_out.bias"
        ]
    );
    assert_eq!(report.unexpected, ["norm_out.linear.bias_v2"]);
    assert_eq!(report.wrong_shape[0].tensor, "x_embedder.weight");
    assert_eq!(
        (
            &report.wrong_shape[0].expected[..],
            &report.wrong_shape[0].actual[..]
        ),
        (&[32, 16][..], &[16, 32][..])
    );
    for name in [
        "missing     proj_out.bias",
        "unexpected  norm_out.linear.bias_v2",
        "x_embedder.weight: expected [32, 16]",
    ] {
        assert!(text.contains(name), "{text}");
    }
}

#[test]
fn pieces_of_a_fused_tensor_are_checked_one_by_one() {
    // The total number of rows stays the same: 16 more for the query, 16 fewer for the key.
    let error = error_after(|folder| {
        let path = folder.join(TRANSFORMER);
        let bytes = fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (long, short) = (vec![0u8; 48 * 32 * 2], vec![0u8; 16 * 32 * 2]);
        let tensors: Vec<(String, TensorView<'_>)> = file
            .tensors()
            .into_iter()
            .map(|(name, view)| match name.as_str() {
                "transformer_blocks.0.attn.to_q.weight" => (
                    name,
                    TensorView::new(Dtype::BF16, vec![48, 32], &long).unwrap(),
                ),
                "transformer_blocks.0.attn.to_k.weight" => (
                    name,
                    TensorView::new(Dtype::BF16, vec![16, 32], &short).unwrap(),
                ),
                _ => (name, view),
            })
            .collect();
        safetensors::serialize_to_file(tensors, None, &path).unwrap();
    });
    let report = report(error);
    assert_eq!(
        report.wrong_shape[0].tensor,
        "transformer_blocks.0.attn.to_q.weight"
    );
    assert_eq!(report.wrong_shape[0].expected, [32, 32]);
}

/// Changes one value of a JSON file.
fn set(path: &Path, key: &str, value: serde_json::Value) {
    let mut json: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    json[key] = value;
    fs::write(path, json.to_string()).unwrap();
}

#[test]
fn a_config_that_contradicts_the_weights_names_the_tensors() {
    let error = error_after(|folder| {
        set(
            &folder.join("transformer/config.json"),
            "num_layers",
            3.into(),
        )
    });
    assert!(
        report(error)
            .missing
            .iter()
            .all(|name| name.starts_with("transformer_blocks.2."))
    );
    let error = error_after(|folder| {
        set(
            &folder.join("transformer/config.json"),
            "num_single_layers",
            1.into(),
        )
    });
    assert!(
        report(error)
            .unexpected
            .iter()
            .all(|name| name.starts_with("single_transformer_blocks.1."))
    );
    let error = error_after(|folder| {
        set(
            &folder.join("text_encoder/config.json"),
            "intermediate_size",
            65.into(),
        )
    });
    assert!(!report(error).wrong_shape.is_empty());
}

#[test]
fn inconsistent_configs_state_the_broken_relation() {
    for (file, key, value, relation) in [
        (
            "transformer/config.json",
            "axes_dims_rope",
            serde_json::json!([4, 6, 8]),
            "sum(axes_dims_rope) = 18 != attention_head_dim = 16",
        ),
        (
            "transformer/config.json",
            "num_attention_heads",
            0.into(),
            "num_attention_heads = 0",
        ),
        (
            "transformer/config.json",
            "num_layers",
            serde_json::json!(usize::MAX),
            "num_layers",
        ),
        (
            "transformer/config.json",
            "joint_attention_dim",
            33.into(),
            "joint_attention_dim = 33 != hidden_size = 32",
        ),
        (
            "transformer/config.json",
            "in_channels",
            32.into(),
            "in_channels",
        ),
        (
            "text_encoder/config.json",
            "num_key_value_heads",
            3.into(),
            "not a multiple of num_key_value_heads = 3",
        ),
        (
            "vae/config.json",
            "norm_num_groups",
            3.into(),
            "not a multiple of norm_num_groups = 3",
        ),
        (
            "vae/config.json",
            "use_quant_conv",
            true.into(),
            "use_quant_conv",
        ),
        (
            "vae/config.json",
            "block_out_channels",
            serde_json::json!([]),
            "block_out_channels",
        ),
        (
            "vae/config.json",
            "scaling_factor",
            0.into(),
            "scaling_factor = 0",
        ),
        (
            "scheduler/scheduler_config.json",
            "use_karras_sigmas",
            true.into(),
            "use_karras_sigmas",
        ),
        (
            "scheduler/scheduler_config.json",
            "time_shift_type",
            "linear".into(),
            "time_shift_type",
        ),
    ] {
        let error = error_after(|folder| set(&folder.join(file), key, value.clone()));
        assert!(
            matches!(
                &error,
                OvisImageError::Checkpoint(CheckpointError::InvalidConfig { .. })
            ),
            "{key}: {error}"
        );
        assert!(chain(&error).contains(relation), "{key}: {error}");
    }
    for (file, key) in [
        ("transformer/config.json", "num_layers"),
        ("transformer/config.json", "num_single_layers"),
        ("text_encoder/config.json", "num_hidden_layers"),
        ("vae/config.json", "layers_per_block"),
    ] {
        // Small enough to be built, but too large to be intended.
        let error = error_after(|folder| set(&folder.join(file), key, 16_000_000.into()));
        assert!(chain(&error).contains("is more than"), "{key}: {error}");
    }
    for (key, value) in [
        ("rope_scaling", serde_json::json!({"type": "yarn"})),
        (
            "rope_parameters",
            serde_json::json!({"rope_type": "linear"}),
        ),
        ("use_sliding_window", true.into()),
        ("hidden_act", "gelu".into()),
        ("attention_bias", true.into()),
    ] {
        let error =
            error_after(|folder| set(&folder.join("text_encoder/config.json"), key, value.clone()));
        is_invalid_file(&error, "text_encoder/config.json", key);
    }
    let error = error_after(|folder| {
        set(
            &folder.join("transformer/config.json"),
            "patch_size",
            2.into(),
        )
    });
    assert!(chain(&error).contains("patch_size = 2"), "{error}");
    let error = error_after(|folder| fs::write(folder.join("vae/config.json"), "{").unwrap());
    is_invalid_file(&error, "vae/config.json", "EOF");
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

#[test]
fn several_weight_files_without_an_index_are_ambiguous() {
    let error = error_after(|folder| {
        let path = folder.join(TRANSFORMER);
        fs::copy(&path, folder.join("transformer/a.safetensors")).unwrap();
        fs::rename(&path, folder.join("transformer/b.safetensors")).unwrap();
    });
    is_invalid_file(&error, "transformer", "several weight files");
}

#[test]
fn a_tokenizer_without_the_special_tokens_is_refused() {
    let path = golden_folder().join("base/model/tokenizer/tokenizer.json");
    let text = fs::read_to_string(path).unwrap();
    for token in ["<|im_start|>", "<|im_end|>", "<|endoftext|>"] {
        let renamed = text.replace(token, "<|other|>");
        let error =
            PromptTokenizer::from_bytes(renamed.as_bytes(), "tokenizer.json".into()).unwrap_err();
        assert!(
            matches!(&error, OvisImageError::Checkpoint(CheckpointError::MissingSpecialToken { token: missing, .. }) if *missing == token),
            "{error}"
        );
    }
    for bad in ["", "{}", "[1]", "not json"] {
        let error =
            PromptTokenizer::from_bytes(bad.as_bytes(), "tokenizer.json".into()).unwrap_err();
        assert!(
            matches!(
                error,
                OvisImageError::Checkpoint(CheckpointError::Tokenizer { .. })
            ),
            "{error}"
        );
    }
}

#[test]
fn a_tokenizer_of_another_vocabulary_is_refused() {
    let folder = damaged(|folder| {
        set(
            &folder.join("text_encoder/config.json"),
            "vocab_size",
            300.into(),
        );
        let path = folder.join("text_encoder/model.safetensors");
        let bytes = fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors: Vec<(String, TensorView<'_>)> = file
            .tensors()
            .into_iter()
            .map(|(name, view)| {
                if name.ends_with("embed_tokens.weight") {
                    let width = view.shape()[1];
                    (
                        name,
                        TensorView::new(
                            view.dtype(),
                            vec![300, width],
                            &view.data()[..600 * width],
                        )
                        .unwrap(),
                    )
                } else {
                    (name, view)
                }
            })
            .collect();
        safetensors::serialize_to_file(tensors, None, &path).unwrap();
    });
    // The tokenizer is parsed while the weights load: the first prompt reports the error, and so
    // does every later one.
    let pipeline = load(folder.path().to_owned()).unwrap();
    for _ in 0..2 {
        let error = pipeline.generate(&request()).unwrap_err();
        assert!(chain(&error).contains("vocab_size = 300"), "{error}");
    }
}

/// Replaces a file of the model by something else.
fn replaced(file: &str, by: impl FnOnce(&Path)) -> OvisImageError {
    error_after(|folder| {
        let path = folder.join(file);
        fs::remove_file(&path).unwrap();
        by(&path);
    })
}

#[test]
fn configurations_that_are_not_files_are_named() {
    for file in [
        "transformer/config.json",
        "vae/config.json",
        "text_encoder/config.json",
        "scheduler/scheduler_config.json",
    ] {
        let error = replaced(file, |path| fs::create_dir(path).unwrap());
        is_invalid_file(&error, file, "it is a folder");
        let error = replaced(file, |path| {
            fs::File::create(path).unwrap().set_len(1 << 40).unwrap();
        });
        is_invalid_file(&error, file, "longer than");
        #[cfg(unix)]
        {
            let link = |to: &str| {
                replaced(file, |path| {
                    std::os::unix::fs::symlink(to, path).unwrap();
                })
            };
            is_invalid_file(&link("/dev/zero"), file, "device");
            for nowhere in [file.rsplit('/').next().unwrap(), "nowhere"] {
                assert!(
                    matches!(&link(nowhere), OvisImageError::Checkpoint(CheckpointError::Io { path, .. }) if path.ends_with(file)),
                    "{nowhere}"
                );
            }
        }
    }
    let tokenizer = "tokenizer/tokenizer.json";
    let error = replaced(tokenizer, |path| fs::create_dir(path).unwrap());
    is_invalid_file(&error, tokenizer, "not a regular file");
}

#[test]
fn a_scheduler_of_another_class_is_refused() {
    let file = "scheduler/scheduler_config.json";
    let error = error_after(|folder| {
        set(
            &folder.join(file),
            "_class_name",
            "EulerDiscreteScheduler".into(),
        );
    });
    assert!(
        matches!(&error, OvisImageError::Checkpoint(CheckpointError::UnsupportedClass { path, class, .. })
            if path.ends_with(file) && class == "EulerDiscreteScheduler"),
        "{error}"
    );
    // Burn's layout has no class.
    let folder = damaged(|folder| set(&folder.join(file), "_class_name", serde_json::Value::Null));
    assert!(load(folder.path().to_owned()).is_ok());
}
