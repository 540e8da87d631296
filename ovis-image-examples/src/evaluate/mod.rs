//! `evaluate`: benchmarks of the report: their images, what is read in them, and figures from that.

pub mod compare;
pub mod error;
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

/// Computes the benchmarks of the Ovis-Image report.
///
/// Exit codes: 0 for success, 1 if the work failed, 2 if an argument is wrong.
#[derive(Debug, Parser)]
#[command(version, name = "evaluate")]
pub struct Arguments {
    /// Step of the work.
    #[command(subcommand)]
    pub step: Step,
}

/// Step of the work.
#[derive(Debug, Subcommand)]
pub enum Step {
    /// Prints prompts of signs.
    Signs(signs::Arguments),
    /// Generates images.
    Run(Box<run::Arguments>),
    /// Reads images.
    Read(read::Arguments),
    /// Computes the scores of a benchmark from readings, detections or answers about its images.
    ///
    /// Readings are the text that a reader returned, detections are the objects of a detector, and
    /// answers are those of a model to questions. A missing image counts as wrong and lowers the
    /// coverage. Intervals contain 95 % of 1,000 bootstrap resamples of the prompts.
    Score(score::Arguments),
    /// Compares two runs.
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
        Step::Score(arguments) => score::run(&arguments)?,
        Step::Compare(arguments) => compare::run(&arguments)?,
    }
    Ok(ExitCode::SUCCESS)
}
