//! Images and captions for training.

use std::process::ExitCode;

use ovis_image_examples::dataset::run;
use ovis_image_examples::shared::program;

fn main() -> ExitCode {
    program::run(run)
}
