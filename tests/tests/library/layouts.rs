//! Tests that a model gives the same results in all three layouts.

use std::path::Path;

use burn_flex::{Flex, FlexDevice};
use ovis_image::checkpoint::PartPaths;
use ovis_image::error::CheckpointError;
use ovis_image::{
    Checkpoint, CheckpointPaths, Layout, LoadOptions, OvisImageError, OvisImagePipeline,
    WeightDtype,
};
use ovis_image_tests::compare::relative_error;
use ovis_image_tests::golden::{Case, golden_folder};
use ovis_image_tests::layouts::write_layouts;
use ovis_image_tests::tolerance::tolerance;

use crate::support::values;

/// Adds a tokenizer, which ComfyUI's files do not include.
fn add_tokenizer(folder: &Path) {
    let tokenizer = golden_folder().join("layouts/diffusers/tokenizer/tokenizer.json");
    std::fs::copy(tokenizer, folder.join("comfyui/tokenizer.json")).unwrap();
}

#[test]
fn three_layouts_give_the_reference_image_and_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    write_layouts(folder.path());
    add_tokenizer(folder.path());
    let case = Case::read("layouts");
    let golden = case.golden(WeightDtype::F32).unwrap();
    let allowed = tolerance("flex", WeightDtype::F32);

    let mut images = Vec::new();
    for (name, layout) in [
        ("diffusers", Layout::Diffusers),
        ("authors", Layout::Authors),
        ("comfyui", Layout::ComfyUi),
    ] {
        let folder = folder.path().join(name);
        assert_eq!(Layout::of(&folder).unwrap(), layout);
        let pipeline =
            OvisImagePipeline::<Flex>::from_pretrained(folder, LoadOptions::new(), &FlexDevice)
                .unwrap();
        let output = pipeline.generate(&case.request()).unwrap();
        for (stage, actual) in [
            ("latents_out", values(output.latents)),
            ("image", values(output.image_tensor.clone())),
        ] {
            let error = relative_error(&actual, &golden.values(stage));
            assert!(
                error <= allowed.result,
                "{name}: {stage} is off by {error:.1e}"
            );
        }
        images.push(values(output.image_tensor));
    }
    assert!(
        images.iter().all(|image| *image == images[0]),
        "the layouts differ"
    );
}

#[test]
fn parts_of_different_layouts_go_together() {
    let folder = tempfile::tempdir().unwrap();
    write_layouts(folder.path());
    let at = |path: &str| folder.path().join(path);
    let paths = CheckpointPaths {
        transformer: at("comfyui/diffusion_models/ovis_image_bf16.safetensors"),
        vae: at("diffusers/vae"),
        text_encoder: at("authors/Ovis2.5-2B"),
        tokenizer: at("diffusers/tokenizer/tokenizer.json"),
        scheduler: None,
    };
    let mixed =
        OvisImagePipeline::<Flex>::from_paths(&paths, LoadOptions::new(), &FlexDevice).unwrap();
    let whole = OvisImagePipeline::<Flex>::from_pretrained(
        at("diffusers"),
        LoadOptions::new(),
        &FlexDevice,
    )
    .unwrap();
    let request = Case::read("layouts").request();
    assert_eq!(
        values(mixed.generate(&request).unwrap().image_tensor),
        values(whole.generate(&request).unwrap().image_tensor)
    );
}

#[test]
fn sizes_inferred_from_tensors_are_those_of_the_config() {
    let folder = tempfile::tempdir().unwrap();
    write_layouts(folder.path());
    add_tokenizer(folder.path());
    let read = Checkpoint::open(folder.path().join("diffusers")).unwrap();
    for layout in ["authors", "comfyui"] {
        let inferred = Checkpoint::open(folder.path().join(layout)).unwrap();
        assert_eq!(
            inferred.transformer_config(),
            read.transformer_config(),
            "{layout}"
        );
        assert_eq!(
            inferred.text_encoder_config(),
            read.text_encoder_config(),
            "{layout}"
        );
        let (ours, theirs) = (inferred.vae_config(), read.vae_config());
        assert_eq!(
            ours.block_out_channels, theirs.block_out_channels,
            "{layout}"
        );
        assert_eq!(ours.layers_per_block, theirs.layers_per_block, "{layout}");
        assert_eq!(ours.latent_channels, theirs.latent_channels, "{layout}");
        assert_eq!(
            (ours.scaling_factor, ours.shift()),
            (theirs.scaling_factor, theirs.shift()),
            "{layout}"
        );
    }
}

#[test]
fn comfyui_files_without_a_tokenizer_say_how_to_give_one() {
    let folder = tempfile::tempdir().unwrap();
    write_layouts(folder.path());
    let error = Checkpoint::open(folder.path().join("comfyui")).unwrap_err();
    assert!(
        matches!(&error, OvisImageError::Checkpoint(CheckpointError::NotFound { path, .. }) if path.ends_with("tokenizer.json"))
    );
    assert!(
        error.to_string().contains("give the tokenizer's path"),
        "{error}"
    );
    // These parts are sufficient.
    let given = PartPaths {
        tokenizer: Some(golden_folder().join("layouts/diffusers/tokenizer")),
        ..PartPaths::default()
    };
    let paths = CheckpointPaths::discover_with(folder.path().join("comfyui"), &given).unwrap();
    assert!(Checkpoint::open_paths(&paths).is_ok());
}
