//! Prompt to PNG; `--help` lists everything.

use std::process::ExitCode;

use ovis_image_examples::generate::run;
use ovis_image_examples::shared::program;

fn main() -> ExitCode {
    program::run(run)
}
