//! Benchmarks of the report; `--help` lists everything.

mod run;

use std::process::ExitCode;

use anyhow::Result;
use ovis_image_examples::evaluate::{Arguments, Step, compare, read, score, signs};
use ovis_image_examples::shared::program;

fn main() -> ExitCode {
    program::run(run)
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    match arguments.step {
        Step::Signs(arguments) => signs::run(&arguments)?,
        Step::Run(arguments) => run::run(&arguments)?,
        Step::Read(arguments) => return read::run(&arguments),
        Step::Score(arguments) => score::run(&arguments)?,
        Step::Compare(arguments) => compare::run(&arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}
