//! Contents, problems and memory requirements of a checkpoint.

use std::process::ExitCode;

use ovis_image_examples::inspect::run;
use ovis_image_examples::shared::program;

fn main() -> ExitCode {
    program::run(run)
}
