//! `evaluate`: benchmarks of the report: their images, what is read in them, and figures from that.

pub mod ask;
pub mod compare;
pub mod error;
mod grid;
pub mod prompts;
pub mod read;
pub mod readings;
pub mod report;
pub mod run;
pub mod score;
pub mod signs;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Computes the benchmarks of the Ovis-Image report, and of signs.
///
/// `run` generates the images of a benchmark, `read` reads the text in them, `ask` asks a model
/// about them, `score` computes the scores, and `compare` compares two runs. docs/evaluation.md
/// describes the files of each.
///
/// Exit codes: 0 for success, 1 if the work failed, 2 if an argument is wrong, 130 if it was
/// interrupted.
#[derive(Debug, Parser)]
#[command(version, name = "evaluate")]
pub struct Arguments {
    #[command(subcommand)]
    step: Step,
}

/// Step of the work. Each is described where its arguments are.
#[derive(Debug, Subcommand)]
enum Step {
    Signs(signs::Arguments),
    Run(Box<run::Arguments>),
    Read(read::Arguments),
    Ask(ask::Arguments),
    Score(score::Arguments),
    Compare(compare::Arguments),
}

/// Runs the step that the arguments name.
///
/// # Errors
/// Returns the errors of the step.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    match arguments.step {
        Step::Signs(arguments) => signs::run(&arguments)?,
        Step::Run(arguments) => run::run(&arguments)?,
        Step::Read(arguments) => return read::run(&arguments),
        Step::Ask(arguments) => ask::run(&arguments)?,
        Step::Score(arguments) => score::run(&arguments)?,
        Step::Compare(arguments) => compare::run(&arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}
