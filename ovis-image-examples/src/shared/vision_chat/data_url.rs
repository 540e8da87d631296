//! Images as data URLs that are small enough to send.

use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{DynamicImage, ImageFormat};

/// Maximum size of a file that is sent unchanged, in bytes.
const MOST_SENT_BYTES: usize = 4 << 20;

const JPEG_QUALITY: u8 = 92;

/// Returns the URL of an image file, if the file is small enough.
pub fn of_file(format: ImageFormat, bytes: &[u8]) -> Option<String> {
    (bytes.len() <= MOST_SENT_BYTES).then(|| url(format, bytes))
}

/// Encodes an image: without loss if it is small enough, and otherwise as a JPEG whose longer side
/// has at most `side` pixels.
///
/// # Errors
/// Returns a description of the problem with the image.
pub fn of_image(image: DynamicImage, side: u32) -> Result<String, String> {
    if image.width().max(image.height()) <= side {
        let mut png = Vec::new();
        image
            .write_to(&mut Cursor::new(&mut png), ImageFormat::Png)
            .map_err(|error| error.to_string())?;
        if let Some(url) = of_file(ImageFormat::Png, &png) {
            return Ok(url);
        }
    }
    of_jpeg(image, side)
}

/// Encodes an image as a JPEG whose longer side has at most `side` pixels.
///
/// # Errors
/// Returns a description of the problem with the image.
pub fn of_jpeg(image: DynamicImage, side: u32) -> Result<String, String> {
    let image = if image.width().max(image.height()) > side {
        image.resize(side, side, FilterType::CatmullRom)
    } else {
        image
    };
    let mut jpeg = Vec::new();
    image
        .to_rgb8()
        .write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY))
        .map_err(|error| error.to_string())?;
    Ok(url(ImageFormat::Jpeg, &jpeg))
}

fn url(format: ImageFormat, bytes: &[u8]) -> String {
    let mime = format.to_mime_type();
    format!("data:{mime};base64,{}", STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_images_are_sent_without_loss_and_large_ones_as_jpeg() {
        let image = DynamicImage::new_rgb8(64, 32);
        let start = |side| of_image(image.clone(), side).unwrap()[..20].to_owned();
        assert_eq!(start(64), "data:image/png;base6");
        assert_eq!(start(63), "data:image/jpeg;base");
        assert_eq!(
            of_file(ImageFormat::Png, &vec![0; MOST_SENT_BYTES + 1]),
            None
        );
    }
}
