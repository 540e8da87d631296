//! `dataset`: prepares images for training. Draws, filters, captions, buckets and weights them.

pub mod balance;
pub mod buckets;
#[cfg(feature = "train")]
pub mod cache;
pub mod ingest;
pub mod inspect;
pub use crate::manifest;
pub mod recaption;
pub mod synthesize;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Prepares images and captions for training.
///
/// Exit codes: 0 for success, 1 if the work failed, 2 if an argument is wrong, 130 if it was
/// interrupted.
#[derive(Debug, Parser)]
#[command(version, name = "dataset")]
pub struct Arguments {
    #[command(subcommand)]
    step: Step,
}

/// Step of the work: reads files, writes files, and keeps no other state.
#[derive(Debug, Subcommand)]
enum Step {
    Synthesize(synthesize::Arguments),
    Ingest(ingest::Arguments),
    Recaption(recaption::Arguments),
    Buckets(buckets::Arguments),
    Balance(balance::Arguments),
    #[cfg(feature = "train")]
    Cache(cache::Arguments),
    Inspect(inspect::Arguments),
}

/// Runs the step that the arguments name.
///
/// # Errors
/// Returns the errors of the step.
pub fn run(arguments: Arguments) -> Result<()> {
    match arguments.step {
        Step::Synthesize(arguments) => synthesize::run(arguments),
        Step::Ingest(arguments) => ingest::run(arguments),
        Step::Recaption(arguments) => recaption::run(arguments),
        Step::Buckets(arguments) => buckets::run(arguments),
        Step::Balance(arguments) => balance::run(arguments),
        #[cfg(feature = "train")]
        Step::Cache(arguments) => cache::run(arguments),
        Step::Inspect(arguments) => inspect::run(arguments),
    }
}
