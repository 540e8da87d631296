//! `dataset buckets`: a size for each image that training can batch, and its resize, crop or pad.

mod choice;
mod focus;
mod report;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;

use super::ingest::parts::Parts;
use super::ingest::{Budget, Decoding};
use super::manifest::{LineWriter, Row, Rows, file_in, image_path, write_whole};
use crate::shared::aspect_buckets::{Buckets, Size};
use crate::shared::input_file;
use crate::shared::program::{print, say};
use crate::shared::usage::UsageError;
use choice::Choice;
use focus::{CENTER, of_boxes, of_pixels};
use report::Counts;

/// Version of the format of a part. Changes whenever the same rows would give other contents.
const PART_VERSION: u32 = 1;

/// Number of rows in a part.
const ROWS: usize = 1000;

/// Maximum number of pixels of an image. The default limit of `dataset ingest` is lower.
const MOST_PIXELS: u64 = 256 << 20;

/// Maximum size of an image file, in bytes.
const MOST_FILE_BYTES: u64 = 256 << 20;

/// Chooses a bucket for each image, and decides how the image is resized, cropped or padded.
///
/// Adds the fields bucket, resize, and crop or pad to the manifest, and draws buckets.svg. Images
/// that show text are padded, never cropped. Others are cropped around the manifest's boxes, or
/// around the part with the most edges, saturation and skin tones.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Manifest, or its folder
    #[arg(value_name = "MANIFEST")]
    manifest: PathBuf,
    /// Sides of square buckets; an image goes to the largest that does not enlarge it
    #[arg(long, value_name = "PIXELS", value_delimiter = ',', default_value = "256,512,1024",
        value_parser = clap::value_parser!(u32).range(64..=8192))]
    resolutions: Vec<u32>,
    /// Multiple for the sides of a bucket: 16 for the model, 64 as in kohya's scripts
    #[arg(long, value_name = "PIXELS", default_value_t = 16)]
    step: u32,
    /// Factor by which an image may be enlarged
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    max_enlargement: f64,
    /// Crop at the center, without reading images
    #[arg(long)]
    center: bool,
}

/// Chooses buckets.
///
/// # Errors
/// Returns an error if an argument is wrong, or the manifest cannot be read or written.
pub fn run(arguments: Arguments) -> Result<()> {
    let step = arguments.step;
    ensure!(
        step == 64 || step == 16,
        UsageError::new(format!("invalid --step {step}: it must be 16 or 64"))
    );
    ensure!(
        arguments.max_enlargement >= 1.0,
        UsageError::new("invalid --max-enlargement: it must be at least 1")
    );
    let mut sides = arguments.resolutions.clone();
    sides.sort_unstable();
    sides.dedup();
    let manifest = file_in(&arguments.manifest);
    let work = manifest.with_file_name(".buckets");
    let chooser = Chooser {
        manifest: manifest.clone(),
        buckets: sides.iter().map(|side| Buckets::new(*side, step)).collect(),
        max_enlargement: arguments.max_enlargement,
        center: arguments.center,
        decoding: Decoding {
            most_pixels: MOST_PIXELS,
            budget: Budget::new(448 << 20),
        },
        unread: AtomicU64::new(0),
    };
    let mut rows = Rows::open(&manifest)?.peekable();
    let mut parts = Parts::open(&work)?;
    while rows.peek().is_some() {
        let part = rows.by_ref().take(ROWS).collect::<Result<Vec<Row>, _>>()?;
        chooser.do_part(part, &mut parts)?;
    }
    let counts = gather(&parts.finish()?, &manifest)?;
    fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))?;
    write_whole(
        &manifest.with_file_name("buckets.svg"),
        report::svg(&counts).as_bytes(),
    )?;
    let unread = chooser.unread.into_inner();
    if unread > 0 {
        say(&format!(
            "warning: {unread} images cannot be read: cropped at the center"
        ));
    }
    print(report::table(&counts).as_bytes())
}

/// State shared by all threads.
struct Chooser {
    manifest: PathBuf,
    buckets: Vec<Buckets>,
    max_enlargement: f64,
    center: bool,
    decoding: Decoding,
    /// Number of images that could not be read.
    unread: AtomicU64,
}

impl Chooser {
    fn do_part(&self, mut part: Vec<Row>, parts: &mut Parts) -> Result<()> {
        let mut made_of = format!(
            "{PART_VERSION} {:?} {} {}\n",
            self.buckets, self.max_enlargement, self.center
        )
        .into_bytes();
        made_of.extend(serde_json::to_vec(&part)?);
        let (path, is_finished) = parts.next(&made_of);
        if is_finished {
            return Ok(());
        }
        part.par_iter_mut()
            .with_max_len(1)
            .try_for_each(|row| self.choose(row))?;
        let mut writer = LineWriter::create(&path)?;
        for row in &part {
            writer.write(row)?;
        }
        Ok(writer.finish()?)
    }

    fn choose(&self, row: &mut Row) -> Result<()> {
        let (Some(width), Some(height)) = (row.width, row.height) else {
            anyhow::bail!(
                "the row `{}` has no width and height: run `dataset ingest` first",
                row.id
            );
        };
        ensure!(
            width > 0 && height > 0,
            "the row `{}` has a side of 0 pixels",
            row.id
        );
        let image = (width, height);
        let choice = Choice::new(row, image, &self.buckets, self.max_enlargement);
        // The crop was searched for before.
        if choice.is_cropped() && choice.is_in(row) && !self.center {
            return Ok(());
        }
        let focus = if choice.is_cropped() {
            self.focus(row, image, choice.bucket)
        } else {
            CENTER
        };
        choice.write(row, focus);
        Ok(())
    }

    fn focus(&self, row: &Row, image: Size, bucket: Size) -> focus::Point {
        if self.center {
            return CENTER;
        }
        of_boxes(row, image)
            .or_else(|| self.search(&image_path(&self.manifest, row), bucket))
            .unwrap_or_else(|| {
                self.unread.fetch_add(1, Ordering::Relaxed);
                CENTER
            })
    }

    fn search(&self, path: &Path, bucket: Size) -> Option<focus::Point> {
        let bytes = input_file::read(path, MOST_FILE_BYTES).ok()?;
        let (image, _share) = self.decoding.decode(&bytes, None).ok()?;
        Some(of_pixels(&image, bucket))
    }
}

/// Joins the parts into the manifest, and counts the images of each bucket.
fn gather(parts: &[PathBuf], manifest: &Path) -> Result<Counts> {
    let mut counts = Counts::new();
    let mut writer = LineWriter::create(manifest)?;
    for part in parts {
        for row in Rows::open(part)? {
            let row = row?;
            let bucket: Option<Size> = row
                .other
                .get("bucket")
                .and_then(|bucket| serde_json::from_value(bucket.clone()).ok());
            if let Some(bucket) = bucket {
                *counts.entry(bucket).or_default() += 1;
            }
            writer.write(&row)?;
        }
    }
    writer.finish()?;
    Ok(counts)
}
