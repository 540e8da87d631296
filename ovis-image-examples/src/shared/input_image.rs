//! Images to read: of a bounded decoded size, and turned as their EXIF orientation says.

use std::io::Cursor;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bytesize::ByteSize;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits};

use super::input_file;
use super::record::hashes::sha256;
use super::terminal::shown;

/// Most bytes of an image, both of its file and decoded: photographs of 100 megapixels have 300
/// million in 8 bits per channel.
const MOST_BYTES: u64 = 512 << 20;

/// Most pixels of a side, as in JPEG. Scaling takes memory for a side times one of the result's.
const MOST_PIXELS_A_SIDE: u32 = 65_535;

/// An image that was read.
#[derive(Debug)]
pub struct InputImage {
    /// The pixels, upright.
    pub image: DynamicImage,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// Reads an image.
///
/// # Errors
/// Returns an error that names the file if it is not a regular file, is not an image, or is too
/// large.
pub fn read(path: &Path) -> Result<InputImage> {
    let read = || -> Result<InputImage> {
        let bytes = input_file::read(path, MOST_BYTES)?;
        Ok(InputImage {
            image: decode(&bytes)?,
            sha256: sha256(&bytes),
        })
    };
    read().with_context(|| format!("cannot read the image {}", shown(path)))
}

fn decode(bytes: &[u8]) -> Result<DynamicImage> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    ensure!(
        width.max(height) <= MOST_PIXELS_A_SIDE,
        "it is {width}x{height}, but a side may have at most {MOST_PIXELS_A_SIDE} pixels: crop it first"
    );
    // The file may have fewer bits per pixel than the 24 that are worked with, or more.
    let rgb = 3 * u64::from(width) * u64::from(height);
    let decoded = rgb.max(decoder.total_bytes());
    ensure!(
        decoded <= MOST_BYTES,
        "its {width}x{height} pixels take {} when decoded, more than {}: scale it down first",
        size(decoded),
        size(MOST_BYTES)
    );
    // If the metadata is damaged, the image is taken as it is stored.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder)?;
    image.apply_orientation(orientation);
    Ok(image)
}

fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().si().to_string()
}

#[cfg(test)]
mod tests {
    use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage};

    use super::*;

    /// EXIF of an orientation: a little-endian TIFF with the tag 0x112 alone.
    fn exif(orientation: u8) -> Vec<u8> {
        let mut exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
        exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
        exif
    }

    /// Two pixels side by side, red and blue.
    fn pair(orientation: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = image::codecs::png::PngEncoder::new(&mut bytes);
        encoder.set_exif_metadata(exif(orientation)).unwrap();
        encoder
            .write_image(&[255, 0, 0, 0, 0, 255], 2, 1, ExtendedColorType::Rgb8)
            .unwrap();
        bytes
    }

    #[test]
    fn images_are_turned_as_their_orientation_says() {
        let (red, blue) = (Rgb([255, 0, 0]), Rgb([0, 0, 255]));
        for (orientation, size, first) in [
            (1, (2, 1), red),
            (2, (2, 1), blue),
            (3, (2, 1), blue),
            (6, (1, 2), red),
            (8, (1, 2), blue),
            (99, (2, 1), red),
        ] {
            let image = decode(&pair(orientation)).unwrap().into_rgb8();
            assert_eq!(image.dimensions(), size, "{orientation}");
            assert_eq!(*image.get_pixel(0, 0), first, "{orientation}");
        }
    }

    #[test]
    fn photographs_are_turned_too() {
        let mut bytes = Vec::new();
        let mut encoder = image::codecs::jpeg::JpegEncoder::new(&mut bytes);
        encoder.set_exif_metadata(exif(6)).unwrap();
        encoder.encode_image(&RgbImage::new(32, 16)).unwrap();
        assert_eq!(decode(&bytes).unwrap().into_rgb8().dimensions(), (16, 32));
    }

    #[test]
    fn an_image_is_refused_by_its_decoded_size() {
        let bomb = |width, height, color, depth| {
            let mut bytes = Vec::new();
            let mut encoder = png::Encoder::new(&mut bytes, width, height);
            encoder.set_color(color);
            encoder.set_depth(depth);
            // The header says how large the image is; the pixels are missing.
            let mut writer = encoder.write_header().unwrap();
            writer.write_chunk(png::chunk::IDAT, &[]).unwrap();
            drop(writer);
            decode(&bytes).unwrap_err().to_string()
        };
        let refused = bomb(
            20_000,
            20_000,
            png::ColorType::Grayscale,
            png::BitDepth::One,
        );
        for part in ["20000x20000", "1.2 GB", "536.9 MB", "scale it down"] {
            assert!(refused.contains(part), "{refused}");
        }
        // A photograph of 100 megapixels is not refused for its size: its pixels are missing here.
        let accepted = bomb(11_648, 8_736, png::ColorType::Rgb, png::BitDepth::Eight);
        assert!(!accepted.contains("scale it down"), "{accepted}");
        let long = bomb(70_000, 1, png::ColorType::Rgb, png::BitDepth::Eight);
        assert!(long.contains("70000x1") && long.contains("65535"), "{long}");
        let deep = bomb(11_648, 8_736, png::ColorType::Rgba, png::BitDepth::Sixteen);
        assert!(deep.contains("scale it down"), "{deep}");
    }
}
