//! Measures of an image's pixels, computed once for each image, so that filters can be changed
//! without decoding again.

use image::DynamicImage;
use serde::{Deserialize, Serialize};

use super::perceptual_hash::perceptual_hash;
use super::resample::Gray;

/// Measures of an upright image.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Measures {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Perceptual hash.
    pub phash: u64,
    /// Standard deviation of the channel that varies most, on a scale to 255.
    pub contrast: f64,
    /// Variance of the Laplacian of the gray image, as OpenCV users compute it.
    pub sharpness: f64,
}

/// Measures an image.
pub(super) fn measure(image: &DynamicImage) -> Measures {
    let (gray, contrast) = gray_and_contrast(image);
    Measures {
        width: gray.width as u32,
        height: gray.height as u32,
        phash: perceptual_hash(&gray),
        contrast: rounded(contrast),
        sharpness: rounded(sharpness(&gray)),
    }
}

/// Rounds to three decimal places, which are enough to filter by and shorter to store.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// Converts to gray as Pillow does, and returns the largest standard deviation of a channel.
fn gray_and_contrast(image: &DynamicImage) -> (Gray, f64) {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let (pixels, contrast) = match image {
        DynamicImage::ImageLuma8(image) => channels::<1>(image),
        DynamicImage::ImageLumaA8(image) => channels::<2>(image),
        DynamicImage::ImageRgb8(image) => channels::<3>(image),
        DynamicImage::ImageRgba8(image) => channels::<4>(image),
        other => channels::<3>(&other.to_rgb8()),
    };
    let gray = Gray {
        width,
        height,
        pixels,
    };
    (gray, contrast)
}

/// Returns the gray of pixels with `N` channels, and the largest standard deviation of a channel.
/// Alpha is ignored, as Pillow ignores it.
fn channels<const N: usize>(bytes: &[u8]) -> (Vec<u8>, f64) {
    let (mut sums, mut squares) = ([0_u64; 3], [0_u64; 3]);
    let mut gray = Vec::with_capacity(bytes.len() / N);
    let colors = if N < 3 { 1 } else { 3 };
    for pixel in bytes.as_chunks::<N>().0 {
        for channel in 0..colors {
            let value = u64::from(pixel[channel]);
            sums[channel] += value;
            squares[channel] += value * value;
        }
        gray.push(if N < 3 {
            pixel[0]
        } else {
            let [r, g, b] = [0, 1, 2].map(|channel| u32::from(pixel[channel]));
            ((19_595 * r + 38_470 * g + 7_471 * b + 0x8000) >> 16) as u8
        });
    }
    let count = gray.len() as f64;
    let deviation = |channel: usize| {
        let mean = sums[channel] as f64 / count;
        (squares[channel] as f64 / count - mean * mean)
            .max(0.0)
            .sqrt()
    };
    let contrast = (0..colors).map(deviation).fold(0.0, f64::max);
    (gray, contrast)
}

/// Computes the variance of the Laplacian. The border is reflected without repeating its pixel.
fn sharpness(gray: &Gray) -> f64 {
    let (width, height) = (gray.width, gray.height);
    if width < 2 || height < 2 {
        return 0.0;
    }
    let row = |y: usize| &gray.pixels[y * width..][..width];
    let (mut sum, mut squares) = (0_i64, 0_u64);
    let mut add = |above: u8, left: u8, center: u8, right: u8, below: u8| {
        let around = i32::from(above) + i32::from(below) + i32::from(left) + i32::from(right);
        let value = around - 4 * i32::from(center);
        sum += i64::from(value);
        squares += u64::from((value * value).unsigned_abs());
    };
    for y in 0..height {
        let above = row(if y == 0 { 1 } else { y - 1 });
        let below = row(if y + 1 == height { y - 1 } else { y + 1 });
        let here = row(y);
        add(above[0], here[1], here[0], here[1], below[0]);
        for (x, window) in here.windows(3).enumerate() {
            add(above[x + 1], window[0], window[1], window[2], below[x + 1]);
        }
        let last = width - 1;
        add(
            above[last],
            here[last - 1],
            here[last],
            here[last - 1],
            below[last],
        );
    }
    let count = (width * height) as f64;
    let mean = sum as f64 / count;
    squares as f64 / count - mean * mean
}
