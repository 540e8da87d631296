//! Image files: their formats by ending, and encoding with what is known about the image.
//!
//! [`png_text`] writes and reads the texts of a PNG, [`exif_text`] the one of a JPEG or WebP file.

pub mod exif_text;
pub mod png_text;

use std::path::Path;

use anyhow::Result;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder, RgbImage};

use super::terminal::say;
use png_text::PARAMETERS_KEYWORD;

/// Endings of the files that can be written.
pub const ENDINGS: [&str; 4] = ["png", "jpg", "jpeg", "webp"];

/// Quality of JPEG files, at which artifacts are hard to see.
const JPEG_QUALITY: u8 = 95;

/// Format of an image file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageFormat {
    /// PNG, with all texts.
    Png,
    /// JPEG, with the text `parameters` in its EXIF data.
    Jpeg,
    /// Lossless WebP, with the text `parameters` in its EXIF data.
    WebP,
}

impl ImageFormat {
    /// Returns the format of a file name: PNG without one of [`ENDINGS`].
    pub fn of(path: &Path) -> Self {
        let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
        match ending.to_str() {
            Some("jpg" | "jpeg") => Self::Jpeg,
            Some("webp") => Self::WebP,
            _ => Self::Png,
        }
    }

    /// Encodes an image with texts by keyword.
    ///
    /// # Errors
    /// Returns the encoder's error.
    pub fn encode(self, image: &RgbImage, texts: &[(&str, String)]) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match self {
            Self::Png => return png_text::encode(image, texts),
            Self::Jpeg => {
                let encoder = JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY);
                write(encoder, image, texts)?;
            }
            Self::WebP => write(WebPEncoder::new_lossless(&mut bytes), image, texts)?,
        }
        Ok(bytes)
    }
}

fn write(mut encoder: impl ImageEncoder, image: &RgbImage, texts: &[(&str, String)]) -> Result<()> {
    let text = texts.iter().find(|(name, _)| *name == PARAMETERS_KEYWORD);
    match text.map(|(_, text)| exif_text::encode(text)).transpose()? {
        Some(Some(exif)) => encoder.set_exif_metadata(exif)?,
        Some(None) => {
            say("warning: the prompt is too long for EXIF data: the image carries no settings")
        }
        None => {}
    }
    let (width, height) = image.dimensions();
    Ok(encoder.write_image(image.as_raw(), width, height, ExtendedColorType::Rgb8)?)
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn gradient() -> RgbImage {
        RgbImage::from_fn(32, 16, |x, y| Rgb([x as u8 * 8, y as u8 * 16, 90]))
    }

    #[test]
    fn the_ending_says_the_format() {
        for (name, format) in [
            ("a.png", ImageFormat::Png),
            ("a.JPG", ImageFormat::Jpeg),
            ("a.jpeg", ImageFormat::Jpeg),
            ("a.b.WebP", ImageFormat::WebP),
            ("-", ImageFormat::Png),
        ] {
            assert_eq!(ImageFormat::of(name.as_ref()), format, "{name}");
        }
    }

    #[test]
    fn png_and_webp_keep_pixels_and_jpeg_nearly() {
        let texts = [(PARAMETERS_KEYWORD, "a cat, 猫".to_owned())];
        for (format, most) in [
            (ImageFormat::Png, 0),
            (ImageFormat::WebP, 0),
            (ImageFormat::Jpeg, 8),
        ] {
            let bytes = format.encode(&gradient(), &texts).unwrap();
            let read = image::load_from_memory(&bytes).unwrap().to_rgb8();
            let pairs = read.as_raw().iter().zip(gradient().into_raw());
            let largest = pairs.map(|(a, b)| a.abs_diff(b)).max();
            assert!(largest <= Some(most), "{format:?}: {largest:?}");
        }
    }

    #[test]
    fn a_text_that_does_not_fit_is_left_out() {
        let texts = [(PARAMETERS_KEYWORD, "cat ".repeat(20_000))];
        let bytes = ImageFormat::Jpeg.encode(&gradient(), &texts).unwrap();
        assert!(image::load_from_memory(&bytes).is_ok());
        assert_eq!(exif_text::in_bytes(&bytes), None);
    }
}
