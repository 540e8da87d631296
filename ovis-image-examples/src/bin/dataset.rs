//! Images and captions for training.

use std::process::ExitCode;

use anyhow::Result;
use ovis_image_examples::dataset::{Arguments, run};
use ovis_image_examples::shared::program;

fn main() -> ExitCode {
    program::run(start)
}

/// Runs the step that the arguments name. The one that needs models is compiled here for every
/// backend.
fn start(arguments: Arguments) -> Result<()> {
    #[cfg(feature = "train")]
    if let Some(step) = arguments.cache() {
        let device = step.device().open()?;
        return device.visit(ovis_image_examples::dataset::cache::CacheWork(step.clone()));
    }
    run(arguments)
}
