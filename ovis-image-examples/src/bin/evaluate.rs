//! Benchmarks of the report; `--help` lists everything.

use std::process::ExitCode;

use ovis_image_examples::evaluate::run;
use ovis_image_examples::shared::program;

fn main() -> ExitCode {
    program::run(run)
}
