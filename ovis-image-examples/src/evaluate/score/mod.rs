//! `evaluate score`: figures of a benchmark from readings.

mod cvtg;
mod longtext;
mod signs;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use ovis_image::evaluation::Mode;

use super::report::Report;
use crate::shared::program::{print, say};
use crate::shared::terminal::printable_lines;
use crate::shared::usage::UsageError;

/// Scores a benchmark from what a reader found in its images.
///
/// A missing image counts as wrong and lowers the coverage. Intervals hold 95 % of 1,000 bootstrap
/// resamples of the images.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Benchmark
    #[arg(value_name = "BENCH")]
    benchmark: Benchmark,
    /// File of readings: a line {"image": "CVTG/2/0.png", "words": ["…"]} for each image, where
    /// `words` has the lines that the reader returned
    #[arg(long, value_name = "FILE")]
    readings: PathBuf,
    /// Prompts of the benchmark as published: the folder with CVTG/2.json to CVTG-Style/5.json,
    /// text_prompts.jsonl, or signs.jsonl
    #[arg(long, value_name = "PATH")]
    prompts: PathBuf,
    /// Rules: the official script's with its faults, or mended ones
    #[arg(long, value_name = "MODE", default_value = "official")]
    mode: ModeName,
    /// Language of the prompts of `longtext`
    #[arg(long, value_name = "LANGUAGE")]
    language: Option<LanguageName>,
    /// Folder of the images of `signs`, to measure colors
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Reader that was used, for the record
    #[arg(long, value_name = "NAME")]
    reader: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Benchmark that can be scored from readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Benchmark {
    /// CVTG-2K: words in quotes, 2 to 5 regions
    Cvtg,
    /// LongText-Bench: words of long texts, characters of Chinese ones
    Longtext,
    /// Signs, the benchmark of the small model in this repository: whole texts, and colors
    Signs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModeName {
    Official,
    Strict,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LanguageName {
    En,
    Zh,
}

/// Number of ignored images that a warning names.
const NAMED: usize = 5;

/// Scores a benchmark and prints the result.
///
/// # Errors
/// Returns an error if the readings or the prompts cannot be used.
pub fn run(arguments: &Arguments) -> Result<()> {
    arguments.check()?;
    let mut report = match arguments.benchmark {
        Benchmark::Cvtg => {
            cvtg::report(&arguments.readings, &arguments.prompts, arguments.rules())?
        }
        Benchmark::Signs => signs::report(
            &arguments.readings,
            &arguments.prompts,
            arguments.images.as_deref(),
        )?,
        Benchmark::Longtext => longtext::report(
            &arguments.readings,
            &arguments.prompts,
            arguments.language.unwrap_or(LanguageName::En),
            arguments.rules(),
        )?,
    };
    report.reader.clone_from(&arguments.reader);
    warn(&report);
    if arguments.json {
        print(format!("{:#}\n", report.json()).as_bytes())
    } else {
        print(printable_lines(&report.table()).as_bytes())
    }
}

impl Arguments {
    /// Refuses flags of other benchmarks.
    fn check(&self) -> Result<()> {
        ensure!(
            self.language.is_none() || self.benchmark == Benchmark::Longtext,
            UsageError::new("--language is for longtext: the other benchmarks are English")
        );
        ensure!(
            self.images.is_none() || self.benchmark == Benchmark::Signs,
            UsageError::new("--images is for signs: the other benchmarks have no colors")
        );
        Ok(())
    }

    fn rules(&self) -> Mode {
        match self.mode {
            ModeName::Official => Mode::Official,
            ModeName::Strict => Mode::Strict,
        }
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
            "warning: {missing} of {} images were not read and count as wrong",
            report.total.expected
        ));
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
