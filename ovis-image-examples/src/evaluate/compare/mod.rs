//! `evaluate compare`: paired differences of two runs of a benchmark.

mod differences;
mod page;

use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::score::BenchmarkArguments;
use crate::shared::output_file;
use crate::shared::program::print;
use crate::shared::terminal::printable_lines;
use crate::shared::usage::UsageError;
use differences::Comparison;

/// Compares two runs of a benchmark: of two models, or of one with other steps, guidance,
/// quantization, step caches or LoRAs.
///
/// Differences are paired: each prompt is compared with itself. Intervals hold 95 % of 1,000
/// bootstrap resamples of the prompts; one without 0 is a difference that another set of such
/// prompts would most likely show, too. A missing image counts as wrong.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Benchmark and rules.
    #[command(flatten)]
    benchmark: BenchmarkArguments,
    /// Readings of the first run, as for `score`
    #[arg(value_name = "A")]
    first: PathBuf,
    /// Readings of the second run
    #[arg(value_name = "B")]
    second: PathBuf,
    /// Folder of the images of the first run, for the page, and for the colors of `signs`
    #[arg(long, value_name = "DIR", requires = "images_b")]
    images_a: Option<PathBuf>,
    /// Folder of the images of the second run
    #[arg(long, value_name = "DIR", requires = "images_a")]
    images_b: Option<PathBuf>,
    /// Number of images to list for which B is worst in comparison with A
    #[arg(long, value_name = "N", default_value = "20")]
    worst: usize,
    /// Page to write: the figures, and those images with what was read in them
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Compares two runs and prints the differences.
///
/// # Errors
/// Returns an error if readings, prompts or images cannot be used, or the page cannot be written.
pub fn run(arguments: &Arguments) -> Result<()> {
    let benchmark = &arguments.benchmark;
    benchmark.check(false, false)?;
    let folders = [&arguments.images_a, &arguments.images_b];
    for folder in folders.into_iter().flatten() {
        ensure!(
            folder.is_dir(),
            UsageError(format!("{} is not a folder of images", folder.display()))
        );
    }
    let scores = |readings: &PathBuf, images: &Option<PathBuf>| {
        benchmark.by_prompt(readings, images.as_deref())
    };
    let comparison = Comparison::new(
        &benchmark.name(),
        [&arguments.first, &arguments.second].map(|path| path.display().to_string()),
        scores(&arguments.first, &arguments.images_a)?,
        scores(&arguments.second, &arguments.images_b)?,
    );
    if let Some(path) = &arguments.html {
        let worst = comparison.worst(arguments.worst);
        let page = page::page(&comparison, &worst, folders.map(Option::as_deref));
        output_file::write_whole(path, page.as_bytes())?;
    }
    if arguments.json {
        let object = comparison.json(arguments.worst);
        print(format!("{object:#}\n").as_bytes())
    } else {
        print(printable_lines(&comparison.table(arguments.worst)).as_bytes())
    }
}
