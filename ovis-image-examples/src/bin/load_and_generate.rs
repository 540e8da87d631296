//! Loads a checkpoint and generates two images, as a library user would write it: the backend is a
//! type.
//!
//! `cargo run --release -p ovis-image-examples --bin load_and_generate [checkpoint folder]`

use std::path::Path;

use burn_flex::{Flex, FlexDevice};
use ovis_image::{GenerationRequest, LoadOptions, OvisImagePipeline, Result, WeightDtype};
use ovis_image_examples::shared::embedded;

fn main() -> anyhow::Result<()> {
    let folder = std::env::args_os().nth(1);
    let request = GenerationRequest::new("a green sign with the word \"HELLO\" in white")
        .with_images_per_prompt(2)
        .with_seed(7);
    let (pipeline, request) = match &folder {
        Some(folder) => (load(Path::new(folder))?, request.with_size(512, 512)),
        None => (load_embedded()?, embedded::with_defaults(request)),
    };
    let output = pipeline.generate(&request)?;

    for (index, generated) in output.images.iter().enumerate() {
        generated.image.save(format!("hello-{index}.png"))?;
    }
    Ok(())
}

fn load(folder: &Path) -> Result<OvisImagePipeline<Flex>> {
    // The release's own dtype, half the memory of f32.
    let options = LoadOptions::new().with_dtype(WeightDtype::BF16);
    OvisImagePipeline::from_pretrained(folder, options, &FlexDevice)
}

/// Loads the small model that is embedded in this program.
fn load_embedded() -> Result<OvisImagePipeline<Flex>> {
    OvisImagePipeline::from_embedded(&embedded::EMBEDDED, LoadOptions::new(), &FlexDevice)
}
