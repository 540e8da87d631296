//! Tests of merging LoRAs into the weights, and of taking them out again.

use burn_flex::{Flex, FlexDevice};
use ovis_image::{CheckpointPaths, LoadOptions, OvisImagePipeline, WeightDtype};
use ovis_image_tests::compare::relative_error;
use ovis_image_tests::golden::golden_folder;
use ovis_image_tests::tolerance::tolerance;

use super::{is_the_reference, latents, load_with, lora};
use crate::support::{base_model, pipeline, request, values};

#[test]
fn the_merged_weight_of_every_module_is_that_of_peft() {
    let mut paths = CheckpointPaths::discover(base_model()).unwrap();
    paths.transformer = golden_folder().join("lora/merged");
    let peft = OvisImagePipeline::<Flex>::from_paths(&paths, LoadOptions::new(), &FlexDevice);
    let mut peft = peft.unwrap().transformer().clone();

    let mut ours = pipeline();
    ours.load_lora("all", &lora("all"), 0.5).unwrap();
    let report = ours.merge_loras().unwrap();
    assert_eq!((report.merged, report.beside), (36, 0));
    let mut ours = ours.transformer().clone();
    for ((path, ours), (_, peft)) in ours
        .linear_layers_mut()
        .into_iter()
        .zip(peft.linear_layers_mut())
    {
        let error = relative_error(&values(ours.weight.val()), &values(peft.weight.val()));
        // Sums of four products and one addition in another order.
        assert!(error <= 2e-7, "{path} is off by {error:.1e}");
    }
}

#[test]
fn merging_changes_no_image_and_unmerging_no_bit() {
    for options in [
        LoadOptions::new(),
        LoadOptions::new().with_in_place(false),
        LoadOptions::new().with_dtype(WeightDtype::BF16),
    ] {
        let mut pipeline = load_with(options);
        let without = latents(&pipeline);
        pipeline.load_lora("all", &lora("all"), 0.5).unwrap();
        let beside = latents(&pipeline);
        assert_ne!(beside, without);

        pipeline.merge_loras().unwrap();
        let dtype = pipeline.generate(&request()).unwrap().settings.dtype;
        let error = relative_error(&latents(&pipeline), &beside);
        let allowed = tolerance("flex", dtype).result;
        assert!(error <= allowed, "{dtype}: {error:.1e}");

        pipeline.unmerge_loras().unwrap();
        assert_eq!(latents(&pipeline), beside);
        pipeline.unload_lora("all").unwrap();
        assert_eq!(latents(&pipeline), without);
    }
}

#[test]
fn merged_loras_can_still_be_scaled_and_unloaded() {
    let mut pipeline = pipeline();
    let without = latents(&pipeline);
    pipeline.load_lora("all", &lora("all"), 1.0).unwrap();
    pipeline.merge_loras().unwrap();
    pipeline.set_lora_scale("all", 0.5).unwrap();
    is_the_reference(&pipeline, "all_half");
    pipeline
        .load_lora("attention", &lora("attention"), -0.75)
        .unwrap();
    is_the_reference(&pipeline, "both");
    pipeline.unload_lora("all").unwrap();
    pipeline.unload_lora("attention").unwrap();
    assert_eq!(latents(&pipeline), without);
}

#[test]
fn originals_of_a_transformer_of_ones_own_are_kept_in_memory() {
    let checkpoint = pipeline();
    let mut pipeline = checkpoint
        .clone()
        .with_transformer(checkpoint.transformer().clone())
        .unwrap();
    pipeline.load_lora("all", &lora("all"), 1.0).unwrap();
    let beside = latents(&pipeline);
    pipeline.merge_loras().unwrap();
    pipeline.unmerge_loras().unwrap();
    assert_eq!(latents(&pipeline), beside);
}
