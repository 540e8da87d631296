//! `evaluate score`: scores of a benchmark from readings and judgments.

mod benchmark;
mod clip_scores;
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

pub use benchmark::{BenchmarkArguments, MoreFiles};
pub use prompt_score::{PromptScore, Share};

use super::report::Report;
use crate::shared::program::{print, say};
use crate::shared::terminal::printable_lines;
use benchmark::LanguageName;
use oneig_results::OneIgResults;

/// Computes the scores of a benchmark from readings, detections or answers about its images.
///
/// Readings are the text that a reader returned, detections are the objects of a detector, and
/// answers are those of a model to questions. A missing image counts as wrong and lowers the coverage. Intervals contain 95 % of 1,000
/// bootstrap resamples of the prompts.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Benchmark and rules.
    #[command(flatten)]
    benchmark: BenchmarkArguments,
    /// Readings, detections or answers: a file with a JSON object in each line
    ///
    /// A reading is {"image": "CVTG/2/0.png", "words": ["…"]}, with the lines of text that the reader
    /// returned. For geneval, `objects` takes the place of `words`, or the file is results.jsonl of
    /// the official scorer; for dpg, `answers` does. docs/evaluation.md describes them.
    #[arg(long, value_name = "FILE")]
    readings: PathBuf,
    /// Folder of the images of `signs`, to measure colors
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// CLIP scores of the images of `cvtg`, one JSON object a line: {"image": "CVTG/2/0.png",
    /// "clip_score": 0.8}, or `image_features` and `text_features` of CLIP
    #[arg(long, value_name = "FILE")]
    clip_scores: Option<PathBuf>,
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
    let more = MoreFiles {
        images: arguments.images.as_deref(),
        clip_scores: arguments.clip_scores.as_deref(),
        results: Some(&arguments.results).filter(|results| results.is_given()),
    };
    let benchmark = &arguments.benchmark;
    benchmark.check(more)?;
    let mut report = benchmark.report(&arguments.readings, more)?;
    report.reader.clone_from(&arguments.reader);
    if let (None, Some(official)) = (&arguments.reader, benchmark.large_reader()) {
        let note = format!("published scores are of readings by {official}: name yours (--reader)");
        report.notes.push(note);
    }
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
