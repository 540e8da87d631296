//! Trains a model; `--help` lists everything.

use std::process::ExitCode;

use anyhow::Result;
use ovis_image_examples::shared::terminal::start_log;
use ovis_image_examples::shared::{allocator, interrupt, program, threads};
use ovis_image_examples::train::{Arguments, Ending, Train};

fn main() -> ExitCode {
    allocator::keep_freed_memory();
    program::run(run)
}

/// Runs the training that the arguments request. The loop over batches is compiled here for every
/// backend.
fn run(arguments: Arguments) -> Result<ExitCode> {
    start_log(arguments.run().verbose);
    let resolved = arguments.resolve()?;
    if let Some(threads) = resolved.threads {
        threads::limit(threads.into())?;
    }
    let device = resolved.device_spec()?.open()?;
    let work = Train::prepare(arguments.run(), resolved)?;
    Ok(match device.visit(work)? {
        Ending::Finished => ExitCode::SUCCESS,
        Ending::Stopped => ExitCode::from(interrupt::EXIT_CODE),
    })
}
