//! Encodes an image as a data URL that is small enough to send.

use std::io::Cursor;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;

use crate::dataset::ingest::Decoding;
use crate::shared::input_file;

/// Maximum size of an image file, in bytes.
const MOST_FILE_BYTES: u64 = 256 << 20;

/// Maximum size of a file that is sent unchanged, in bytes.
const MOST_SENT_BYTES: usize = 4 << 20;

const JPEG_QUALITY: u8 = 92;

/// Reads an image. An image larger than `side`, or rotated by its metadata, is encoded again.
///
/// # Errors
/// Returns a description of the problem with the image.
pub(super) fn data_url(path: &Path, side: u32, decoding: &Decoding) -> Result<String, String> {
    let bytes = input_file::read(path, MOST_FILE_BYTES).map_err(|error| error.to_string())?;
    let format = crate::dataset::ingest::decode::format(&bytes, None);
    let format = format.map_err(|dropped| dropped.detail)?;
    let (image, _share) = decoding
        .decode(&bytes, None)
        .map_err(|dropped| dropped.detail)?;
    let stored = image::ImageReader::with_format(Cursor::new(&bytes), format).into_dimensions();
    let is_stored_so = stored.is_ok_and(|stored| stored == (image.width(), image.height()));
    let longest = image.width().max(image.height());
    if longest <= side && bytes.len() <= MOST_SENT_BYTES && is_stored_so {
        return Ok(url(format.to_mime_type(), &bytes));
    }
    let image = if longest > side {
        image.resize(side, side, FilterType::CatmullRom)
    } else {
        image
    };
    let mut jpeg = Vec::new();
    image
        .to_rgb8()
        .write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY))
        .map_err(|error| error.to_string())?;
    Ok(url("image/jpeg", &jpeg))
}

fn url(mime: &str, bytes: &[u8]) -> String {
    format!("data:{mime};base64,{}", STANDARD.encode(bytes))
}
