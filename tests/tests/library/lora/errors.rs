//! Tests of files that are not LoRAs of this model, and of wrong names and scales.

use std::path::{Path, PathBuf};

use ovis_image::error::{CheckpointError, LoraError, RequestError};
use ovis_image::{LoraFile, OvisImageError};
use ovis_image_tests::error_chain::chain;
use ovis_image_tests::golden::golden_folder;

use super::{latents, lora};
use crate::support::{pipeline, write_tensors};

const Q: &str = "transformer_blocks.0.attn.to_q";

/// Writes a file of tensors of given shapes, each filled with one value.
fn file_of(tensors: &[(&str, &[usize], f32)]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    let tensors = tensors.iter().map(|(name, shape, value)| {
        let count = shape.iter().product();
        ((*name).to_owned(), shape.to_vec(), vec![*value; count])
    });
    write_tensors(&path, tensors);
    (folder, path)
}

fn error_of(tensors: &[(&str, &[usize], f32)]) -> OvisImageError {
    let (_folder, path) = file_of(tensors);
    let before = latents(&pipeline());
    let mut pipeline = pipeline();
    let error = LoraFile::open(&path)
        .and_then(|file| pipeline.load_lora("x", &file, 1.0))
        .unwrap_err();
    assert_eq!(pipeline.loras(), []);
    assert_eq!(latents(&pipeline), before, "nothing is attached");
    assert!(error.to_string().contains("lora.safetensors"), "{error}");
    error
}

fn down() -> String {
    format!("transformer.{Q}.lora_A.weight")
}

fn up() -> String {
    format!("transformer.{Q}.lora_B.weight")
}

#[test]
fn modules_that_the_model_lacks_are_reported() {
    let (_folder, path) = file_of(&[
        (&down(), &[1, 32], 0.1),
        (&up(), &[32, 1], 0.1),
        ("text_encoder.layers.0.lora_A.weight", &[1, 32], 0.1),
        ("text_encoder.layers.0.lora_B.weight", &[32, 1], 0.1),
    ]);
    let mut pipeline = pipeline();
    let file = LoraFile::open(&path).unwrap();
    let report = pipeline.load_lora("x", &file, 1.0).unwrap();
    assert_eq!((report.applied, report.modules), (1, 2));
    assert_eq!(report.unmatched, ["text_encoder.layers.0"]);
    assert_eq!(
        report.to_string(),
        "applied 1 of 2 modules; not in this model: text_encoder.layers.0"
    );
}

#[test]
fn a_lora_of_which_nothing_applies_is_an_error() {
    let error = error_of(&[
        ("unet.down.lora_A.weight", &[1, 32], 0.1),
        ("unet.down.lora_B.weight", &[32, 1], 0.1),
    ]);
    assert!(
        matches!(&error, OvisImageError::Lora(LoraError::NotApplied { modules: 1, example, .. }) if example == "down"),
        "{error}"
    );
}

#[test]
fn a_lora_of_a_wider_model_is_an_error() {
    for (tensors, name, expected) in [
        ([(down(), [1, 64]), (up(), [32, 1])], down(), [1, 32]),
        ([(down(), [1, 32]), (up(), [96, 1])], up(), [32, 1]),
    ] {
        let tensors: Vec<(&str, &[usize], f32)> = tensors
            .iter()
            .map(|(name, shape)| (name.as_str(), &shape[..], 0.1))
            .collect();
        match error_of(&tensors) {
            OvisImageError::Lora(LoraError::Shape {
                tensor,
                expected: needed,
                ..
            }) => {
                assert_eq!(tensor, name);
                assert_eq!(needed, expected);
            }
            error => panic!("{error}"),
        }
    }
}

#[test]
fn other_methods_are_refused_by_name() {
    for (tensor, method) in [
        ("lycoris_single_blocks_0_linear1.lokr_w1", "LoKr"),
        ("transformer.proj_out.dora_scale", "DoRA"),
    ] {
        let error = error_of(&[(tensor, &[2, 2], 0.1)]);
        assert!(
            matches!(&error, OvisImageError::Lora(LoraError::UnsupportedAdapter { method: named, .. }) if *named == method),
            "{error}"
        );
        assert!(error.to_string().contains(tensor), "{error}");
    }
}

#[test]
fn files_that_are_no_lora_are_refused_naming_the_tensor() {
    let (down, up) = (down(), up());
    let alpha = format!("transformer.{Q}.alpha");
    let kohya = "lora_unet_proj_out.lora_down.weight";
    for (tensors, named) in [
        (
            vec![("proj_out.weight", &[2usize, 2][..], 0.1)],
            "proj_out.weight",
        ),
        (vec![(down.as_str(), &[1, 32][..], 0.1)], down.as_str()),
        (vec![(kohya, &[1, 32][..], 0.1)], kohya),
        (vec![(alpha.as_str(), &[][..], 1.0)], alpha.as_str()),
        (
            vec![(&down, &[2, 32][..], 0.1), (&up, &[32, 1][..], 0.1)],
            &down,
        ),
        (
            vec![(&down, &[32][..], 0.1), (&up, &[32, 1][..], 0.1)],
            &down,
        ),
        (
            vec![(&down, &[0, 32][..], 0.1), (&up, &[32, 0][..], 0.1)],
            &down,
        ),
        (
            vec![(&down, &[1, 32][..], f32::NAN), (&up, &[32, 1][..], 0.1)],
            &down,
        ),
        (
            vec![
                (&down, &[1, 32][..], 0.1),
                (&up, &[32, 1][..], f32::INFINITY),
            ],
            &up,
        ),
        (
            vec![
                (&down, &[1, 32][..], 0.1),
                (&up, &[32, 1][..], 0.1),
                (&alpha, &[2][..], 1.0),
            ],
            &alpha,
        ),
    ] {
        let error = error_of(&tensors);
        assert!(
            matches!(
                error,
                OvisImageError::Checkpoint(CheckpointError::InvalidFile { format: "LoRA", .. })
            ),
            "{error}"
        );
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[test]
fn one_matrix_under_two_names_is_refused() {
    let other = format!("{Q}.lora_down.weight");
    let error = error_of(&[
        (&down(), &[1, 32], 0.1),
        (&other, &[1, 32], 0.1),
        (&up(), &[32, 1], 0.1),
    ]);
    assert!(error.to_string().contains("the same matrix"), "{error}");
}

#[test]
fn a_broken_configuration_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden_folder().join("lora/attention/adapter_model.safetensors");
    std::fs::copy(golden, folder.path().join("adapter_model.safetensors")).unwrap();
    for (json, reason) in [
        ("{", "configuration"),
        (r#"{"r": 4}"#, "lora_alpha"),
        (r#"{"lora_alpha": 4, "alpha_pattern": {".*q": 2}}"#, ".*q"),
        (r#"{"lora_alpha": 4, "use_dora": true}"#, "DoRA"),
    ] {
        std::fs::write(folder.path().join("adapter_config.json"), json).unwrap();
        let error = LoraFile::open(folder.path()).unwrap_err();
        let text = chain(&error);
        assert!(text.contains(reason), "{text}");
    }
}

#[test]
fn names_and_scales_are_checked() {
    let mut pipeline = pipeline();
    let is_refused = |result: Result<(), OvisImageError>, reason: &str| {
        let error = result.unwrap_err();
        assert!(matches!(
            error,
            OvisImageError::Request(RequestError::InvalidArgument { .. })
        ));
        assert!(error.to_string().contains(reason), "{error}");
    };
    let file = lora("all");
    pipeline.load_lora("all", &file, 1.0).unwrap();
    is_refused(pipeline.load_lora("all", &file, 1.0).map(drop), "already");
    is_refused(pipeline.load_lora("b", &file, f32::NAN).map(drop), "NaN");
    is_refused(pipeline.set_lora_scale("all", f32::INFINITY), "inf");
    is_refused(pipeline.set_lora_scale("b", 1.0), "`b`");
    is_refused(pipeline.unload_lora("b"), "`b`");
    assert!(LoraFile::open(Path::new("/nowhere.safetensors")).is_err());
}
