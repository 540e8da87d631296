//! Prompt to PNG; `--help` lists everything.

mod run;

use std::process::ExitCode;

use ovis_image_examples::shared::program;

fn main() -> ExitCode {
    program::run(run::run)
}
