//! Samples side by side in one image.

use std::path::Path;

use image::imageops::{self, FilterType};
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use rayon::prelude::*;

use crate::dataset::ingest::Decoding;
use crate::dataset::manifest::{Row, image_path};
use crate::shared::input_file;

/// Side of a cell.
const CELL: u32 = 160;

/// Space around an image.
const GAP: u32 = 4;

const PAPER: Rgb<u8> = Rgb([250, 250, 250]);

/// Color that replaces an image that cannot be read.
const MISSING: Rgb<u8> = Rgb([200, 60, 60]);

/// Maximum size of an image file, in bytes.
const MOST_FILE_BYTES: u64 = 256 << 20;

/// Draws the images of rows on a nearly square sheet. Returns a PNG, and the number of images that
/// cannot be read.
///
/// # Errors
/// Returns an error of the encoder.
pub(super) fn sheet(
    manifest: &Path,
    rows: &[Row],
    decoding: &Decoding,
) -> image::ImageResult<(Vec<u8>, usize)> {
    let thumbnails: Vec<Option<RgbImage>> = rows
        .par_iter()
        .with_max_len(1)
        .map(|row| thumbnail(&image_path(manifest, row), decoding))
        .collect();
    let columns = (rows.len().max(1) as f64).sqrt().ceil() as u32;
    let lines = (rows.len().max(1) as u32).div_ceil(columns);
    let mut sheet = RgbImage::from_pixel(columns * CELL, lines * CELL, PAPER);
    for (index, thumbnail) in thumbnails.iter().enumerate() {
        let (column, line) = (index as u32 % columns, index as u32 / columns);
        let missing = || RgbImage::from_pixel(CELL / 4, CELL / 4, MISSING);
        let picture = thumbnail.clone().unwrap_or_else(missing);
        let left = column * CELL + (CELL - picture.width()) / 2;
        let top = line * CELL + (CELL - picture.height()) / 2;
        imageops::replace(&mut sheet, &picture, left.into(), top.into());
    }
    let mut png = std::io::Cursor::new(Vec::new());
    DynamicImage::from(sheet).write_to(&mut png, ImageFormat::Png)?;
    let unread = thumbnails
        .iter()
        .filter(|thumbnail| thumbnail.is_none())
        .count();
    Ok((png.into_inner(), unread))
}

fn thumbnail(path: &Path, decoding: &Decoding) -> Option<RgbImage> {
    let bytes = input_file::read(path, MOST_FILE_BYTES).ok()?;
    let (image, _share) = decoding.decode(&bytes, None).ok()?;
    let side = CELL - 2 * GAP;
    let is_large = image.width().max(image.height()) > side;
    let image = if is_large {
        image.resize(side, side, FilterType::Triangle)
    } else {
        image
    };
    Some(image.to_rgb8())
}
