//! `evaluate compare`: paired differences of two runs of a benchmark.

mod differences;
mod page;

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::score::{BenchmarkArguments, MoreFiles};
use crate::shared::output_file;
use crate::shared::program::print;
use crate::shared::terminal::printable_lines;
use crate::shared::usage::UsageError;
use differences::Comparison;

/// Compares two runs of a benchmark, prompt by prompt.
///
/// The runs may be those of two models, or of one model with different steps, guidance,
/// quantization, step caches or LoRAs. An interval contains 95 % of 1,000 bootstrap resamples of the
/// prompts. If the interval of a difference does not contain 0, chance is an unlikely cause. A
/// missing image counts as wrong.
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
    /// Folder with the images of the first run, for --html and for the colors of `signs`
    #[arg(long, value_name = "DIR", requires = "images_b")]
    images_a: Option<PathBuf>,
    /// Folder with the images of the second run
    #[arg(long, value_name = "DIR", requires = "images_a")]
    images_b: Option<PathBuf>,
    /// CLIP scores of the images of the first run of `cvtg`, as for `score`
    #[arg(long, value_name = "FILE", requires = "clip_scores_b")]
    clip_scores_a: Option<PathBuf>,
    /// CLIP scores of the images of the second run
    #[arg(long, value_name = "FILE", requires = "clip_scores_a")]
    clip_scores_b: Option<PathBuf>,
    /// Number of images to list, those first that got worst from A to B
    #[arg(long, value_name = "N", default_value = "20")]
    worst: usize,
    /// HTML page to write, with the scores, these images and their readings
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
    let clip_scores = [&arguments.clip_scores_a, &arguments.clip_scores_b].map(Option::as_deref);
    benchmark.check(MoreFiles::of_run(None, clip_scores[0]))?;
    let folders = [&arguments.images_a, &arguments.images_b].map(Option::as_deref);
    for folder in folders.into_iter().flatten() {
        ensure!(
            folder.is_dir(),
            UsageError(format!("{} is not a folder of images", folder.display()))
        );
    }
    let scores = |run: usize, readings: &Path| {
        benchmark.by_prompt(readings, MoreFiles::of_run(folders[run], clip_scores[run]))
    };
    let comparison = Comparison::new(
        &benchmark.name(),
        [&arguments.first, &arguments.second].map(|path| path.display().to_string()),
        scores(0, &arguments.first)?,
        scores(1, &arguments.second)?,
    );
    if let Some(path) = &arguments.html {
        let worst = comparison.worst(arguments.worst);
        let page = page::page(&comparison, &worst, folders);
        output_file::write_whole(path, page.as_bytes())?;
    }
    if arguments.json {
        let object = comparison.json(arguments.worst);
        print(format!("{object:#}\n").as_bytes())
    } else {
        print(printable_lines(&comparison.table(arguments.worst)).as_bytes())
    }
}
