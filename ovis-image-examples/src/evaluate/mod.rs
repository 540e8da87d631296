//! `evaluate`: benchmarks of the report, from what was read in images.

pub mod error;
pub mod prompts;
pub mod readings;
pub mod report;
pub mod score;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Computes the benchmarks of the Ovis-Image report.
///
/// Exit codes: 0 for success, 1 if the work failed, 2 if an argument is wrong.
#[derive(Debug, Parser)]
#[command(version, name = "evaluate")]
pub struct Arguments {
    #[command(subcommand)]
    step: Step,
}

/// Step of the work.
#[derive(Debug, Subcommand)]
enum Step {
    Score(score::Arguments),
}

/// Runs the step that the arguments name.
///
/// # Errors
/// Returns the errors of the step.
pub fn run(arguments: Arguments) -> Result<()> {
    match arguments.step {
        Step::Score(arguments) => score::run(&arguments),
    }
}
