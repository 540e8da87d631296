//! `dataset inspect`: the contents of a manifest, in numbers and images.

mod page;
mod sheet;
mod statistics;

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::ingest::{Budget, Decoding};
use super::manifest::{Row, Rows, file_in, write_whole};
use crate::shared::program::{print, say};
use crate::shared::terminal::printable_lines;
use statistics::Statistics;

/// Counts the contents of a manifest, and shows samples.
///
/// Writes contact-sheet.png and inspect.html beside the manifest. A list of dropped rows can be
/// inspected in the same way.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Manifest, its folder, or a list of dropped rows
    #[arg(value_name = "MANIFEST")]
    manifest: PathBuf,
    /// Number of images on the contact sheet, taken at equal distances
    #[arg(long, value_name = "N", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..=2500))]
    sheet: u32,
    /// Number of samples on the page, taken at equal distances
    #[arg(long, value_name = "N", default_value_t = 500,
        value_parser = clap::value_parser!(u32).range(1..=20_000))]
    samples: u32,
    /// Only print the counts
    #[arg(long)]
    counts: bool,
}

/// Inspects a manifest.
///
/// # Errors
/// Returns an error if the manifest cannot be read, or the reports cannot be written.
pub fn run(arguments: Arguments) -> Result<()> {
    let manifest = file_in(&arguments.manifest);
    let mut statistics = Statistics::default();
    for row in Rows::open(&manifest)? {
        statistics.add(&row?);
    }
    print(printable_lines(&statistics.text()).as_bytes())?;
    if arguments.counts {
        return Ok(());
    }
    let rows = statistics.rows;
    let samples = sample(&manifest, rows, arguments.samples)?;
    let page = page::page(&statistics, &samples);
    write_whole(&manifest.with_file_name("inspect.html"), page.as_bytes())?;
    let decoding = Decoding {
        most_pixels: 256 << 20,
        budget: Budget::new(448 << 20),
    };
    let shown = sample(&manifest, rows, arguments.sheet)?;
    let (png, unread) =
        sheet::sheet(&manifest, &shown, &decoding).context("cannot encode the contact sheet")?;
    if unread > 0 {
        say(&format!(
            "warning: {unread} images of the contact sheet cannot be read"
        ));
    }
    Ok(write_whole(
        &manifest.with_file_name("contact-sheet.png"),
        &png,
    )?)
}

/// Takes rows at equal distances.
fn sample(manifest: &std::path::Path, rows: u64, wanted: u32) -> Result<Vec<Row>> {
    let wanted = u64::from(wanted).min(rows);
    let mut taken = Vec::new();
    for (index, row) in Rows::open(manifest)?.enumerate() {
        let next = taken.len() as u64;
        if next == wanted {
            break;
        }
        if index as u64 == next * rows / wanted {
            taken.push(row?);
        }
    }
    Ok(taken)
}
