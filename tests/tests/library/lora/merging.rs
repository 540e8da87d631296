//! Tests of merging LoRAs into the weights, and of taking them out again.

use std::ops::ControlFlow;

use burn_flex::{Flex, FlexDevice};
use ovis_image::checkpoint::ExportOptions;
use ovis_image::{
    Checkpoint, CheckpointPaths, Layout, LoadOptions, OvisImagePipeline, Quantization, WeightDtype,
};
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
fn exports_with_merged_loras_give_what_applied_ones_give_in_any_layout() {
    let mut applied = pipeline();
    applied.load_lora("all", &lora("all"), 0.5).unwrap();
    applied
        .load_lora("attention", &lora("attention"), -0.75)
        .unwrap();
    let expected = latents(&applied);
    let loras = [lora("all"), lora("attention")];
    let loras = [(&loras[0], 0.5), (&loras[1], -0.75)];
    let checkpoint = Checkpoint::open(base_model()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, layout) in [
        ("diffusers", Layout::Diffusers),
        ("authors", Layout::Authors),
        ("comfyui", Layout::ComfyUi),
        ("burnpack", Layout::Burnpack),
    ] {
        let path = folder.path().join(name);
        let options = ExportOptions::new(layout).with_dtype(WeightDtype::F32);
        let export =
            checkpoint.export_merged(&path, &options, &loras, |_| ControlFlow::Continue(()));
        export.unwrap();
        let merged =
            OvisImagePipeline::<Flex>::from_pretrained(&path, LoadOptions::new(), &FlexDevice);
        let error = relative_error(&latents(&merged.unwrap()), &expected);
        assert!(error < 1e-5, "{name} is off by {error:.1e}");
    }
    // Blocks in eight bits, quantized after merging.
    let path = folder.path().join("gguf");
    let options = ExportOptions::new(Layout::ComfyUi).with_quantization(Quantization::Q8_0);
    let export = checkpoint.export_merged(&path, &options, &loras, |_| ControlFlow::Continue(()));
    export.unwrap();
    let merged = OvisImagePipeline::<Flex>::from_pretrained(&path, LoadOptions::new(), &FlexDevice);
    let error = relative_error(&latents(&merged.unwrap()), &expected);
    assert!(0.0 < error && error < 0.3, "{error:.1e}");

    let wrong = [(loras[0].0, f32::NAN)];
    let options = ExportOptions::new(Layout::Diffusers);
    let error = checkpoint.export_merged(folder.path().join("nan"), &options, &wrong, |_| {
        ControlFlow::Continue(())
    });
    assert!(error.unwrap_err().to_string().contains("NaN"));
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
