//! Trains a model; `--help` lists everything.

use std::process::ExitCode;

use ovis_image_examples::shared::{allocator, program};
use ovis_image_examples::train::run;

fn main() -> ExitCode {
    allocator::keep_freed_memory();
    program::run(run)
}
