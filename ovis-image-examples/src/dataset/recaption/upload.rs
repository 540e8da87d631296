//! Reads the image of a row as a data URL that is small enough to send.

use std::io::Cursor;
use std::path::Path;

use image::metadata::Orientation;
use image::{ImageDecoder, ImageReader};

use crate::dataset::ingest::Decoding;
use crate::shared::input_file;
use crate::shared::vision_chat::data_url;

/// Maximum size of an image file, in bytes.
const MOST_FILE_BYTES: u64 = 256 << 20;

/// Reads an image. An image larger than `side`, or turned by its EXIF orientation, is encoded again.
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
    let stored = ImageReader::with_format(Cursor::new(&bytes), format).into_decoder();
    let orientation = stored.and_then(|mut decoder| decoder.orientation());
    let is_upright = orientation.is_ok_and(|found| found == Orientation::NoTransforms);
    let longest = image.width().max(image.height());
    if longest <= side
        && is_upright
        && let Some(url) = data_url::of_file(format, &bytes)
    {
        return Ok(url);
    }
    data_url::of_jpeg(image, side)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use image::codecs::png::PngEncoder;
    use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage};

    use super::*;
    use crate::dataset::ingest::Budget;

    #[test]
    fn images_are_sent_upright_without_orientation() {
        let folder = tempfile::tempdir().unwrap();
        let decoding = Decoding {
            most_pixels: 1 << 20,
            budget: Budget::new(1 << 20),
        };
        let image = RgbImage::from_fn(32, 32, |x, _| Rgb([if x < 16 { 255 } else { 0 }, 0, 0]));
        // As it is, mirrored, upside down, and a quarter turn that keeps the size.
        for (orientation, mime, first) in [
            (1, "png", 255),
            (2, "jpeg", 0),
            (3, "jpeg", 0),
            (8, "jpeg", 0),
        ] {
            let mut exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
            exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
            let mut bytes = Vec::new();
            let mut encoder = PngEncoder::new(&mut bytes);
            encoder.set_exif_metadata(exif).unwrap();
            encoder
                .write_image(&image, 32, 32, ExtendedColorType::Rgb8)
                .unwrap();
            let path = folder.path().join("image.png");
            std::fs::write(&path, bytes).unwrap();
            let url = data_url(&path, 64, &decoding).unwrap();
            let (head, data) = url.split_once(";base64,").unwrap();
            assert_eq!(head, format!("data:image/{mime}"), "{orientation}");
            let sent = image::load_from_memory(&STANDARD.decode(data).unwrap()).unwrap();
            let red = sent.to_rgb8().get_pixel(0, 0)[0];
            assert!(red.abs_diff(first) < 8, "{orientation}: {red}");
        }
    }
}
