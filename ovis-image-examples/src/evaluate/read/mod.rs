//! `evaluate read`: what a reader finds in images.

mod images;
mod record;

use std::num::NonZeroU8;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::ValueEnum;
use image::RgbImage;

use self::record::{Record, Records};
use crate::evaluate::grid;
use crate::reader::{PpOcr, Runtime, Tesseract, TextReader};
use crate::shared::error_chain::one_line;
use crate::shared::program::{print, say};
use crate::shared::progress::CountBar;
use crate::shared::usage::UsageError;
use crate::shared::{input_image, interrupt, output_file};

/// Reads the text in images.
///
/// Writes a line {"image": "CVTG/2/0.png", "words": ["…"]} for each image, in the order of their
/// paths, where `words` has the lines of text that were found. An image that cannot be read has
/// `error` instead. The models of PP-OCR are those of the Python package rapidocr-onnxruntime, and
/// the readings are equal to RapidOCR's.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Images, and folders with images
    #[arg(required = true, value_name = "IMAGES")]
    images: Vec<PathBuf>,
    /// Reader: PP-OCR, which is built in, or the program tesseract
    #[arg(long, value_name = "READER", default_value = "pp-ocr")]
    reader: ReaderName,
    /// Folder with the ONNX models of PP-OCR
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Library of onnxruntime to run the models of PP-OCR with, such as libonnxruntime.so.1.32.0
    #[cfg(feature = "ort")]
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
    /// Languages of Tesseract, such as chi_sim+eng
    #[arg(long, value_name = "LANGUAGES", default_value = "eng")]
    languages: String,
    /// Number of images in a row and in a column of each file, which is a grid: 2 for the files of
    /// `oneig`
    #[arg(long, value_name = "N")]
    grid: Option<NonZeroU8>,
    /// File to write, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Keep the readings in the output file, and read only the images that have none
    #[arg(long, requires = "output")]
    resume: bool,
}

/// Reader of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReaderName {
    PpOcr,
    Tesseract,
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
        output_file::check("--output", output, &["jsonl"])?;
    }
    let mut readings = Records::new();
    let parts = arguments.grid.map(|side| usize::from(side.get()).pow(2));
    if let Some(output) = &arguments.output
        && arguments.resume
        && output.exists()
    {
        readings = record::read_words(output, parts)?;
        readings.retain(|name, _| paths.contains_key(name));
    }
    let reader = reader(arguments)?;
    let interrupted = interrupt::flag()?;
    let bar = CountBar::new("images", (paths.len() - readings.len()) as u64);
    let mut saved = Instant::now();
    for (name, path) in &paths {
        if readings.contains_key(name) {
            continue;
        }
        let of_image = read(reader.as_ref(), name, path, arguments.grid);
        readings.insert(name.clone(), of_image);
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

/// Opens the reader that the arguments name.
fn reader(arguments: &Arguments) -> Result<Box<dyn TextReader>> {
    Ok(match arguments.reader {
        ReaderName::PpOcr => {
            let models = arguments.models.as_ref();
            let needed = || UsageError::new("--models is needed to read with PP-OCR");
            Box::new(PpOcr::open(
                models.with_context(needed)?,
                &runtime(arguments)?,
            )?)
        }
        ReaderName::Tesseract => Box::new(Tesseract::new(&arguments.languages)?),
    })
}

/// Loads the library that runs the models.
#[cfg(feature = "ort")]
fn runtime(arguments: &Arguments) -> Result<Runtime> {
    let library = arguments.onnxruntime.as_deref().map(Runtime::load);
    Ok(library.transpose()?.unwrap_or_default())
}

/// Returns the only library that runs the models.
#[cfg(not(feature = "ort"))]
fn runtime(_: &Arguments) -> Result<Runtime> {
    Ok(Runtime::Rten)
}

/// Reads an image, or each image of a grid.
fn read(reader: &dyn TextReader, name: &str, path: &Path, grid: Option<NonZeroU8>) -> Vec<Record> {
    let image = match input_image::read(path) {
        Ok(image) => image.image.into_rgb8(),
        Err(error) => {
            let part = grid.map(|_| 0);
            return vec![Record::unreadable(name, part, one_line(&error))];
        }
    };
    let Some(side) = grid else {
        return vec![record(reader, name, None, &image)];
    };
    let parts = grid::parts(&image, side.get().into());
    let parts = parts.into_iter().enumerate();
    parts
        .map(|(part, image)| record(reader, name, Some(part), &image))
        .collect()
}

fn record(reader: &dyn TextReader, name: &str, part: Option<usize>, image: &RgbImage) -> Record {
    if part.is_some() && grid::is_black(image) {
        let reason = "it is all black, as an image that is missing in a grid".to_owned();
        return Record::unreadable(name, part, reason);
    }
    match reader.read(image) {
        Ok(lines) => {
            let words = lines.into_iter().map(|line| line.text).collect();
            Record::read(name, part, words)
        }
        Err(error) => Record::unreadable(name, part, one_line(&error.into())),
    }
}

fn warn(readings: &Records) {
    let records = readings.values().flatten();
    let errors: Vec<&str> = records.clone().filter_map(Record::error).collect();
    if errors.is_empty() {
        return;
    }
    say(&format!(
        "warning: {} of {} images could not be read: {}{}",
        errors.len(),
        records.count(),
        errors[..errors.len().min(NAMED)].join("; "),
        if errors.len() > NAMED { "; …" } else { "" }
    ));
}
