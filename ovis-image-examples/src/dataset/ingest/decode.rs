//! Decodes a file to upright pixels, or gives the reason why it cannot. The header is checked
//! before anything is decoded.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::error::ImageError;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::budget::{Budget, Share};
use super::reason::{Dropped, Reason};
use super::truncation::is_truncated;

/// Limits of decoding.
#[derive(Debug)]
pub struct Decoding {
    /// Maximum number of pixels of an image.
    pub most_pixels: u64,
    /// Limit on the bytes of decoded images that are held at once.
    pub budget: Budget,
}

/// Formats that are decoded.
const DECODED: [ImageFormat; 3] = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP];

/// Returns the format of a file, if that format is supported.
///
/// # Errors
/// Returns the reason if it is not. `extension` is that of the file's name, if it has one.
pub fn format(bytes: &[u8], extension: Option<&str>) -> Result<ImageFormat, Dropped> {
    if bytes.is_empty() {
        return Err(Dropped::new(Reason::Undecodable, "the file is empty"));
    }
    let Ok(format) = image::guess_format(bytes) else {
        return Err(Dropped::new(Reason::Undecodable, "it is not an image"));
    };
    if let Some(promised) = extension.and_then(ImageFormat::from_extension)
        && promised != format
    {
        let detail = format!("it is {format:?}, its name says {promised:?}");
        return Err(Dropped::new(Reason::WrongType, detail));
    }
    if !DECODED.contains(&format) {
        let detail = format!("{format:?} is not decoded: convert it to PNG, JPEG or WebP");
        return Err(Dropped::new(Reason::UnsupportedFormat, detail));
    }
    Ok(format)
}

impl Decoding {
    /// Decodes an image and applies its EXIF orientation.
    ///
    /// # Errors
    /// Returns the reason why the image cannot be used.
    pub fn decode(
        &self,
        bytes: &[u8],
        extension: Option<&str>,
    ) -> Result<(DynamicImage, Share<'_>), Dropped> {
        let format = format(bytes, extension)?;
        // A decoder that panics is a decoder that refuses.
        catch_unwind(AssertUnwindSafe(|| self.decode_as(bytes, format)))
            .unwrap_or_else(|_| Err(Dropped::new(Reason::Undecodable, "the decoder failed")))
    }

    fn decode_as(
        &self,
        bytes: &[u8],
        format: ImageFormat,
    ) -> Result<(DynamicImage, Share<'_>), Dropped> {
        let refused = |error: ImageError| refused(&error, is_truncated(format, bytes));
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        let mut limits = Limits::default();
        // A pixel takes at most 8 bytes, and the decoder's buffers as much again.
        limits.max_alloc = Some(self.most_pixels.saturating_mul(16));
        reader.limits(limits);
        let mut decoder = reader.into_decoder().map_err(refused)?;
        let (width, height) = decoder.dimensions();
        let pixels = u64::from(width) * u64::from(height);
        if pixels > self.most_pixels {
            let most = self.most_pixels;
            let detail = format!("{width}x{height} is more than {most} pixels");
            return Err(Dropped::new(Reason::TooManyPixels, detail));
        }
        if is_truncated(format, bytes) {
            let detail = format!("the end of the {format:?} is missing");
            return Err(Dropped::new(Reason::Truncated, detail));
        }
        // The copy that is turned, and the gray one, count too.
        let share = self.budget.take(
            decoder
                .total_bytes()
                .saturating_mul(2)
                .saturating_add(pixels),
        );
        // If the metadata is damaged, the image is taken as it is stored.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut image = DynamicImage::from_decoder(decoder).map_err(refused)?;
        image.apply_orientation(orientation);
        Ok((image, share))
    }
}

fn refused(error: &ImageError, is_truncated: bool) -> Dropped {
    let reason = match error {
        ImageError::Limits(_) => Reason::TooManyPixels,
        ImageError::Unsupported(_) => Reason::UnsupportedFormat,
        _ if is_truncated => Reason::Truncated,
        _ => Reason::Undecodable,
    };
    Dropped::new(reason, error.to_string())
}
