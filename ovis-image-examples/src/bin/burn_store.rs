//! The transformer of a checkpoint through burn-store: saved in Burn's own format, loaded into a
//! new model, and back in a pipeline.
//!
//! ```sh
//! cargo run --release -p ovis-image-examples --features burn-store --bin burn_store [FOLDER]
//! ```

use anyhow::ensure;
use burn_flex::{Flex, FlexDevice};
use burn_store::{BurnpackStore, ModuleSnapshot};
use ovis_image::checkpoint::Checkpoint;
use ovis_image::transformer::OvisImageTransformer;
use ovis_image::{GenerationRequest, LoadOptions, OvisImagePipeline};
use ovis_image_examples::shared::embedded;

fn main() -> anyhow::Result<()> {
    let checkpoint = match std::env::args_os().nth(1) {
        Some(folder) => Checkpoint::open(folder)?,
        None => Checkpoint::open_embedded(&embedded::EMBEDDED)?,
    };
    let options = LoadOptions::new();
    let pipeline = OvisImagePipeline::<Flex>::from_checkpoint(&checkpoint, options, &FlexDevice)?;

    // `SafetensorsStore` is used alike. Both keep each parameter's dtype.
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("transformer.bpk");
    let saved = pipeline.transformer();
    saved.save_into(&mut BurnpackStore::from_file(&path))?;

    let config = checkpoint.transformer_config();
    let mut loaded: OvisImageTransformer<Flex> = config.init(&FlexDevice);
    let result = loaded.load_from(&mut BurnpackStore::from_file(&path))?;
    // A store takes it for no error that a file has more than the model, LoRAs for example.
    ensure!(result.is_success() && result.unused.is_empty(), "{result}");

    let pipeline = pipeline.with_transformer(loaded)?;
    let request = GenerationRequest::new("a blue sign with the word \"BURN\" in yellow");
    let request = embedded::with_defaults(request);
    let output = pipeline.generate(&request)?;
    output.images[0].image.save("burn-store.png")?;
    Ok(())
}
