//! Tests of configurations that contradict themselves or are not what they should be.

use std::fs;
use std::path::Path;

use ovis_image::OvisImageError;
use ovis_image::error::CheckpointError;
use ovis_image_tests::error_chain::chain;

use super::{error_after, is_invalid_file, set};
use crate::support::{damaged, load};

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
