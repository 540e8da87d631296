//! `evaluate read`: what a reader finds in images.

mod images;
mod record;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;

use self::record::Record;
use crate::reader::{PpOcr, TextReader};
use crate::shared::error_chain::one_line;
use crate::shared::program::{print, say};
use crate::shared::progress::CountBar;
use crate::shared::{input_image, interrupt, output_file};

/// Reads the text in images.
///
/// Writes a line {"image": "CVTG/2/0.png", "words": ["…"]} for each image, in the order of their
/// paths, where `words` has the lines of text that PP-OCR found. An image that cannot be read has
/// `error` instead. The models are those of the Python package rapidocr-onnxruntime, and the
/// readings are equal to RapidOCR's.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Images, and folders with images
    #[arg(required = true, value_name = "IMAGES")]
    images: Vec<PathBuf>,
    /// Folder with the ONNX models of PP-OCR
    #[arg(long, value_name = "DIR")]
    models: PathBuf,
    /// File to write, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Keep the readings in the output file, and read only the images that have none
    #[arg(long, requires = "output")]
    resume: bool,
}

/// Time between two writes of the readings so far.
const SAVE_EVERY: Duration = Duration::from_secs(30);

/// Number of unreadable images that a warning names.
const NAMED: usize = 5;

/// Reads images and writes what was found.
///
/// # Errors
/// Returns an error if an argument is wrong, a model cannot be used, or the output cannot be
/// written. An image that cannot be read is a line of the output.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let paths = images::list(&arguments.images)?;
    if let Some(output) = &arguments.output {
        output_file::check(output, &["jsonl"])?;
    }
    let mut readings = BTreeMap::new();
    if let Some(output) = &arguments.output
        && arguments.resume
        && output.exists()
    {
        readings = record::read_words(output)?;
        readings.retain(|name, _| paths.contains_key(name));
    }
    let reader = PpOcr::open(&arguments.models)?;
    let interrupted = interrupt::flag()?;
    let bar = CountBar::new("images", (paths.len() - readings.len()) as u64);
    let mut saved = Instant::now();
    for (name, path) in &paths {
        if readings.contains_key(name) {
            continue;
        }
        readings.insert(name.clone(), read(&reader, name, path));
        bar.advance();
        let stopped = interrupted.load(Ordering::Relaxed);
        if let Some(output) = &arguments.output
            && (stopped || saved.elapsed() > SAVE_EVERY)
        {
            output_file::write_passing(output, &record::lines(&readings))?;
            saved = Instant::now();
        }
        if stopped {
            return Ok(ExitCode::from(interrupt::EXIT_CODE));
        }
    }
    drop(bar);
    warn(&readings);
    let lines = record::lines(&readings);
    match &arguments.output {
        Some(output) => output_file::write_whole(output, &lines)?,
        None => print(&lines)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn read(reader: &impl TextReader, name: &str, path: &Path) -> Record {
    let words = || -> Result<Vec<String>> {
        let image = input_image::read(path)?.image.into_rgb8();
        let lines = reader.read(&image)?;
        Ok(lines.into_iter().map(|line| line.text).collect())
    };
    match words() {
        Ok(words) => Record::read(name, words),
        Err(error) => Record::unreadable(name, one_line(&error)),
    }
}

fn warn(readings: &BTreeMap<String, Record>) {
    let errors: Vec<&str> = readings.values().filter_map(Record::error).collect();
    if errors.is_empty() {
        return;
    }
    say(&format!(
        "warning: {} of {} images could not be read: {}{}",
        errors.len(),
        readings.len(),
        errors[..errors.len().min(NAMED)].join("; "),
        if errors.len() > NAMED { "; …" } else { "" }
    ));
}
