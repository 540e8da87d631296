//! Output folder of a set. Every file appears under its name once it is complete, so a run that was
//! killed resumes with the missing files.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{ExtendedColorType, ImageEncoder, RgbImage};
use rayon::prelude::*;

use crate::shared::progress::CountBar;
use crate::shared::terminal::shown;
use crate::shared::usage::UsageError;
use crate::typography::SyntheticTypography;

use super::row;
use super::settings::Settings;

/// Name of the settings file.
const SETTINGS: &str = "synthesize.json";

/// Number of images whose lines are kept until they are written in order.
const BLOCK: u64 = 256;

/// Output folder of a set.
pub(super) struct Output {
    folder: PathBuf,
}

impl Output {
    /// Creates the folder, or opens the folder of a run with the same settings.
    pub(super) fn open(folder: &Path, settings: &Settings) -> Result<Self> {
        let output = Self {
            folder: folder.to_owned(),
        };
        let images = folder.join("images");
        let path = folder.join(SETTINGS);
        let cannot_write = || format!("cannot write into {}", shown(folder));
        match fs::read(&path) {
            Ok(bytes) => {
                let known: Option<Settings> = serde_json::from_slice(&bytes).ok();
                ensure!(
                    known.as_ref() == Some(settings),
                    UsageError(format!(
                        "{} contains images of other settings (see {SETTINGS} in it): choose another --output",
                        shown(folder)
                    ))
                );
            }
            Err(_) => {
                let is_empty =
                    fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
                ensure!(
                    is_empty,
                    UsageError(format!(
                        "{} is not an empty folder: choose another --output",
                        shown(folder)
                    ))
                );
                fs::create_dir_all(folder).with_context(cannot_write)?;
                let mut text = serde_json::to_string_pretty(settings)?;
                text.push('\n');
                write_whole(&path, text.as_bytes())?;
            }
        }
        fs::create_dir_all(&images).with_context(cannot_write)?;
        Ok(output)
    }

    /// Draws and writes all missing images, and the manifest.
    pub(super) fn write(&self, source: &SyntheticTypography, settings: &Settings) -> Result<()> {
        let path = self.folder.join("manifest.jsonl");
        let part = part_of(&path);
        let cannot_write = || format!("cannot write {}", shown(&part));
        let mut manifest = BufWriter::new(File::create(&part).with_context(cannot_write)?);
        let bar = CountBar::new("images", settings.count);
        let end = settings.first + settings.count;
        let mut start = settings.first;
        while start < end {
            let block = start..end.min(start.saturating_add(BLOCK));
            start = block.end;
            let lines: Result<Vec<String>> = block
                .into_par_iter()
                .map(|index| {
                    let line = self.image(source, settings, index)?;
                    bar.advance();
                    Ok(line)
                })
                .collect();
            for line in lines? {
                manifest
                    .write_all(line.as_bytes())
                    .with_context(cannot_write)?;
            }
        }
        let file = manifest
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_all())
            .with_context(cannot_write)?;
        fs::rename(&part, &path).with_context(|| format!("cannot write {}", shown(&path)))
    }

    /// Draws and writes an image, unless it exists. Returns its line of the manifest.
    fn image(
        &self,
        source: &SyntheticTypography,
        settings: &Settings,
        index: u64,
    ) -> Result<String> {
        let drawn = source.sample(settings.seed, index);
        let sample = drawn.with_context(|| format!("cannot draw image {index}"))?;
        let name = format!("images/{index:08}.png");
        let path = self.folder.join(&name);
        // An empty file is what some file systems leave of one when the power fails.
        if fs::metadata(&path).map_or(true, |found| found.len() == 0) {
            write_whole(&path, &png(&sample.image)?)?;
        }
        let mut line = serde_json::to_string(&row::of(&sample, settings, index, name))?;
        line.push('\n');
        Ok(line)
    }
}

/// Encodes a PNG quickly: most pixels equal the one above them.
fn png(image: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Up);
    let (width, height) = image.dimensions();
    encoder
        .write_image(image, width, height, ExtendedColorType::Rgb8)
        .context("cannot encode an image")?;
    Ok(bytes)
}

/// Writes under a temporary name and renames. That name is always the same, so that a run that is
/// killed and resumed leaves nothing else behind.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let part = part_of(path);
    let written = fs::write(&part, bytes).and_then(|()| fs::rename(&part, path));
    written.with_context(|| format!("cannot write {}", shown(path)))
}

fn part_of(path: &Path) -> PathBuf {
    path.with_added_extension("part")
}
