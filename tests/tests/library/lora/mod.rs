//! Tests of LoRAs, against diffusers with PEFT on the same weights, and of the errors for invalid
//! files.

mod errors;
mod formats;
mod images;
mod merging;
mod modules;

use burn_flex::{Flex, FlexDevice};
use ovis_image::{LoadOptions, LoraFile, OvisImagePipeline, WeightDtype};
use ovis_image_tests::compare::relative_error;
use ovis_image_tests::golden::{Case, Golden, golden_folder};
use ovis_image_tests::tolerance::tolerance;

use crate::support::{base_model, request, values};

fn lora(name: &str) -> LoraFile {
    LoraFile::open(golden_folder().join("lora").join(name)).unwrap()
}

fn load_with(options: LoadOptions) -> OvisImagePipeline<Flex> {
    OvisImagePipeline::from_pretrained(base_model(), options, &FlexDevice).unwrap()
}

fn latents(pipeline: &OvisImagePipeline<Flex>) -> Vec<f32> {
    values(pipeline.generate(&request()).unwrap().latents)
}

#[track_caller]
fn is_the_reference(pipeline: &OvisImagePipeline<Flex>, name: &str) {
    let golden = Golden::open(&golden_folder().join("lora/golden.safetensors"));
    let allowed = tolerance("flex", WeightDtype::F32).result;
    let output = pipeline.generate(&Case::read("base").request()).unwrap();
    for (stage, actual) in [
        ("latents_out", values(output.latents)),
        ("image", values(output.image_tensor)),
    ] {
        let error = relative_error(&actual, &golden.values(&format!("{name}.{stage}")));
        assert!(error <= allowed, "{name}: {stage} is off by {error:.1e}");
    }
}
