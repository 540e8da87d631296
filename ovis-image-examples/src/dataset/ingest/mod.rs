//! `dataset ingest`: makes a manifest of images and captions from any source.
//!
//! 1. Inputs are listed ([`source`]) and cut into parts of consecutive candidates.
//! 2. Each part is read, decoded and measured in parallel ([`worker`]), and kept as a file
//!    ([`parts`]). This is the map; a run that continues a killed one skips the finished parts.
//! 3. Filters, joins and duplicates decide over the measured rows ([`finish`]). This is the
//!    group-by. Changed thresholds do not read an image again.

mod budget;
mod captions;
pub mod decode;
mod duplicates;
mod filters;
mod finish;
mod joins;
mod measure;
pub mod parts;
mod perceptual_hash;
mod reason;
mod resample;
mod source;
#[cfg(test)]
mod tests;
mod truncation;
mod worker;

use std::collections::HashSet;
use std::fmt::Write;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;

pub use budget::Budget;
pub use decode::Decoding;

use crate::dataset::manifest::LineWriter;
use crate::shared::program::print;
use crate::shared::usage::UsageError;
use duplicates::DuplicateArguments;
use filters::{Filters, RowFilter};
use finish::{Counts, Rules, finish};
use joins::{JoinArguments, Joins};
use parts::Parts;
use source::{Candidate, Options};
use worker::{Measured, Target, Worker};

/// Version of the format of a part. Changes whenever the same input would give other contents.
const PART_VERSION: u32 = 2;

/// Maximum number of bytes of decoded images that are held at once.
const DECODED_BYTES: u64 = 448 << 20;

/// Maximum number of bytes of table images that are held at once.
const HELD_BYTES: usize = 64 << 20;

/// Makes a manifest of images with captions, without broken, useless or duplicate images.
///
/// Writes manifest.jsonl, and dropped.jsonl with a reason for each dropped row. A second run
/// continues where a killed one stopped, and reads no image again.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Folders of images and .txt captions; .jsonl, .csv, .tsv, .parquet tables; WebDataset .tar
    #[arg(value_name = "INPUT", required = true)]
    inputs: Vec<PathBuf>,
    /// Folder for the manifest, and for images extracted from archives and tables
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Source of rows that do not name one
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// License of rows that do not name one
    #[arg(long, value_name = "NAME")]
    license: Option<String>,
    /// Maximum number of pixels of an image to decode
    #[arg(long, value_name = "N", default_value_t = 64 << 20)]
    max_pixels: u64,
    /// Maximum size of a caption in bytes
    #[arg(long, value_name = "N", default_value_t = 8192)]
    max_caption_bytes: u64,
    /// Number of rows in a part, the unit that a killed run may have to repeat
    #[arg(long, value_name = "N", default_value_t = 1000, hide_short_help = true,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rows_per_part: u32,
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    duplicates: DuplicateArguments,
    #[command(flatten)]
    joins: JoinArguments,
}

/// Makes a manifest.
///
/// # Errors
/// Returns an error if an argument is wrong, an input cannot be listed or a file cannot be written.
/// A problem with a single image is recorded as a row of `dropped.jsonl` instead.
pub fn run(arguments: Arguments) -> Result<()> {
    let rules = Rules {
        filter: RowFilter::new(&arguments.filters)?,
        joins: Joins::open(&arguments.joins)?,
        duplicates: &arguments.duplicates,
        max_repeats: arguments.filters.max_repeats,
        source: arguments.source.as_deref(),
        license: arguments.license.as_deref(),
    };
    let inputs = check_inputs(&arguments.inputs)?;
    let output = create_folder(&arguments.output)?;
    let _lock = lock(&output)?;
    let worker = Worker {
        decoding: Decoding {
            most_pixels: arguments.max_pixels,
            budget: Budget::new(DECODED_BYTES),
        },
        output: output.clone(),
    };
    let mut parts = Parts::open(&output.join("measured"))?;
    for input in &inputs {
        measure_input(input, &arguments, &worker, &mut parts)
            .with_context(|| format!("cannot ingest {}", input.display()))?;
    }
    let counts = finish(&parts.finish()?, &rules, &output)?;
    print(summary(&counts).as_bytes())
}

/// Resolves links in the names of inputs, and checks that input files have different stems.
fn check_inputs(inputs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut stems = HashSet::new();
    let mut resolved = Vec::new();
    for input in inputs {
        let path =
            fs::canonicalize(input).with_context(|| format!("cannot read {}", input.display()))?;
        ensure!(
            path.is_dir() || stems.insert(path.file_stem().map(ToOwned::to_owned)),
            UsageError::new(format!(
                "two inputs are called {}: rename one, because ids and folders are derived from the names",
                input.display()
            ))
        );
        resolved.push(path);
    }
    Ok(resolved)
}

fn create_folder(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder)
        .and_then(|()| fs::canonicalize(folder))
        .with_context(|| format!("cannot create the folder {}", folder.display()))
}

/// Makes sure that one process at a time writes into a folder.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(".lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => bail!(
            "another process is writing into {}: wait for it",
            folder.display()
        ),
        // A file system without locks.
        Err(fs::TryLockError::Error(_)) => Ok(file),
    }
}

/// Measures the candidates of an input, a part at a time.
fn measure_input(
    input: &Path,
    arguments: &Arguments,
    worker: &Worker,
    parts: &mut Parts,
) -> Result<()> {
    let options = Options {
        most_caption_bytes: arguments.max_caption_bytes,
        output: worker.output.clone(),
    };
    let stem = input.file_stem().unwrap_or_default().to_string_lossy();
    let mut candidates = source::open(input, &options)?;
    let mut number = 0;
    loop {
        let mut part = Vec::new();
        let mut held = 0;
        while part.len() < arguments.rows_per_part as usize && held < HELD_BYTES {
            let Some(candidate) = candidates.next() else {
                break;
            };
            let candidate = candidate?;
            held += candidate.held_bytes();
            part.push(candidate);
        }
        if part.is_empty() {
            return Ok(());
        }
        let first = number;
        number += part.len() as u64;
        let (path, is_finished) = parts.next(&made_of(&part, &stem, first, arguments));
        if !is_finished {
            measure_part(part, &path, worker, &stem, first)?;
        }
    }
}

fn made_of(part: &[Candidate], stem: &str, first: u64, arguments: &Arguments) -> Vec<u8> {
    let head = format!(
        "{PART_VERSION}\n{}\n{first}\n{stem}\n",
        arguments.max_pixels
    );
    let mut made_of = head.into_bytes();
    for candidate in part {
        made_of.extend(candidate.made_of());
        made_of.push(b'\n');
    }
    made_of
}

fn measure_part(
    part: Vec<Candidate>,
    path: &Path,
    worker: &Worker,
    stem: &str,
    first: u64,
) -> Result<()> {
    let measured: Vec<Result<Measured>> = part
        .into_par_iter()
        .enumerate()
        .with_max_len(1)
        .map(|(index, candidate)| {
            let number = first + index as u64;
            worker.measure(candidate, Target { stem, number })
        })
        .collect();
    let mut writer = LineWriter::create(path)?;
    for row in measured {
        writer.write(&row?)?;
    }
    Ok(writer.finish()?)
}

fn summary(counts: &Counts) -> String {
    let mut text = format!("{} rows in the manifest", counts.kept);
    // Writing to a string cannot fail.
    for (reason, count) in &counts.dropped {
        let _ = write!(text, "\n{count} dropped: {}", reason.name());
    }
    text.push('\n');
    text
}
