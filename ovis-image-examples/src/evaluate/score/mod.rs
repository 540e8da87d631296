//! `evaluate score`: scores of a benchmark from readings and judgments.

mod benchmark;
mod cvtg;
mod dpg;
mod dpg_answers;
mod geneval;
mod longtext;
mod oneig;
mod oneig_results;
mod prompt_score;
mod signs;

use std::path::PathBuf;

use anyhow::Result;
use ovis_image::evaluation::Mode;

pub use benchmark::BenchmarkArguments;
pub use prompt_score::{PromptScore, Share};

use super::report::Report;
use crate::shared::program::{print, say};
use crate::shared::terminal::printable_lines;
use benchmark::LanguageName;
use oneig_results::OneIgResults;

/// Computes the scores of a benchmark from what a reader, a detector or another model found in its
/// images.
///
/// A missing image counts as wrong and lowers the coverage. Intervals contain 95 % of 1,000
/// bootstrap resamples of the prompts.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Benchmark and rules.
    #[command(flatten)]
    benchmark: BenchmarkArguments,
    /// Readings of the images, one JSON object a line: {"image": "CVTG/2/0.png", "words": ["…"]} with the lines of text that a reader returned; for geneval, `objects` instead of
    /// `words`, or results.jsonl of the official scorer; for dpg, `answers`; see docs/evaluation.md
    #[arg(long, value_name = "FILE")]
    readings: PathBuf,
    /// Folder of the images of `signs`, to measure colors
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Official results of the other dimensions of `oneig`.
    #[command(flatten)]
    results: OneIgResults,
    /// Name of the reader or other model that was used, to be stored in the result
    #[arg(long, value_name = "NAME")]
    reader: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Number of ignored images that a warning names.
const NAMED: usize = 5;

/// Scores a benchmark and prints the result.
///
/// # Errors
/// Returns an error if the readings or the prompts cannot be used.
pub fn run(arguments: &Arguments) -> Result<()> {
    let results = Some(&arguments.results).filter(|results| results.is_given());
    let images = arguments.images.as_deref();
    arguments
        .benchmark
        .check(images.is_some(), results.is_some())?;
    let benchmark = &arguments.benchmark;
    let mut report = benchmark.report(&arguments.readings, images, results)?;
    report.reader.clone_from(&arguments.reader);
    warn(&report);
    if arguments.json {
        print(format!("{:#}\n", report.json()).as_bytes())
    } else {
        print(printable_lines(&report.table()).as_bytes())
    }
}

/// Returns the name of a mode in reports.
fn name_of(mode: Mode) -> &'static str {
    match mode {
        Mode::Official => "official",
        Mode::Strict => "strict",
    }
}

fn warn(report: &Report) {
    let missing = report.total.expected - report.total.covered;
    if missing > 0 {
        say(&format!(
            "warning: {missing} of {} images were not read or judged and count as wrong",
            report.total.expected
        ));
    }
    for note in &report.notes {
        say(&format!("warning: {note}"));
    }
    if !report.ignored.is_empty() {
        let some = report.ignored.iter().take(NAMED).map(String::as_str);
        say(&format!(
            "warning: {} readings belong to no prompt and are ignored: {}{}",
            report.ignored.len(),
            some.collect::<Vec<_>>().join(", "),
            if report.ignored.len() > NAMED {
                ", …"
            } else {
                ""
            }
        ));
    }
}
