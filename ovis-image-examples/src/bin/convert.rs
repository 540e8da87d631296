//! A checkpoint in another layout.

use std::process::ExitCode;

use ovis_image_examples::convert::run;
use ovis_image_examples::shared::program;

fn main() -> ExitCode {
    program::run(run)
}
