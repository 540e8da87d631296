//! Tests of configurations that contradict themselves or are not what they should be.

use std::fs;
use std::path::Path;

use ovis_image::OvisImageError;
use ovis_image::error::CheckpointError;
use ovis_image_tests::error_chain::chain;
use serde_json::{Value, json};

use super::{error_after, is_invalid_file, set};
use crate::support::{damaged, load};

/// Lists changes that contradict the rest of a configuration: file, key, value and the relation that
/// the error states.
fn contradictions() -> Vec<(&'static str, &'static str, Value, &'static str)> {
    let transformer = "transformer/config.json";
    let vae = "vae/config.json";
    let scheduler = "scheduler/scheduler_config.json";
    let rope = "sum(axes_dims_rope) = 18 != attention_head_dim = 16";
    let context = "joint_attention_dim = 33 != hidden_size = 32";
    let heads = "not a multiple of num_key_value_heads = 3";
    let groups = "not a multiple of norm_num_groups = 3";
    vec![
        (transformer, "axes_dims_rope", json!([4, 6, 8]), rope),
        (
            transformer,
            "num_attention_heads",
            json!(0),
            "num_attention_heads = 0",
        ),
        (transformer, "num_layers", json!(usize::MAX), "num_layers"),
        (transformer, "joint_attention_dim", json!(33), context),
        (transformer, "in_channels", json!(32), "in_channels"),
        (transformer, "patch_size", json!(2), "patch_size = 2"),
        (
            "text_encoder/config.json",
            "num_key_value_heads",
            json!(3),
            heads,
        ),
        (vae, "norm_num_groups", json!(3), groups),
        (vae, "use_quant_conv", json!(true), "use_quant_conv"),
        (vae, "block_out_channels", json!([]), "block_out_channels"),
        (vae, "scaling_factor", json!(0), "scaling_factor = 0"),
        (
            scheduler,
            "use_karras_sigmas",
            json!(true),
            "use_karras_sigmas",
        ),
        (
            scheduler,
            "time_shift_type",
            json!("linear"),
            "time_shift_type",
        ),
    ]
}

#[test]
fn inconsistent_configs_state_the_broken_relation() {
    for (file, key, value, relation) in contradictions() {
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
}

#[test]
fn absurd_numbers_of_layers_are_refused() {
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
}

#[test]
fn settings_that_other_models_have_are_refused_by_name() {
    for (key, value) in [
        ("rope_scaling", json!({"type": "yarn"})),
        ("rope_parameters", json!({"rope_type": "linear"})),
        ("use_sliding_window", true.into()),
        ("hidden_act", "gelu".into()),
        ("attention_bias", true.into()),
    ] {
        let error =
            error_after(|folder| set(&folder.join("text_encoder/config.json"), key, value.clone()));
        is_invalid_file(&error, "text_encoder/config.json", key);
    }
}

#[test]
fn a_configuration_that_ends_too_soon_is_refused() {
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
        "model_index.json",
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
    let folder = damaged(|folder| set(&folder.join(file), "_class_name", Value::Null));
    assert!(load(folder.path().to_owned()).is_ok());
}
