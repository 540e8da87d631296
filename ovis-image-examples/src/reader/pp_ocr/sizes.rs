//! Sizes of images: very long ones are scaled down, very narrow ones up, and flat ones get margins.

use image::RgbImage;
use image::imageops::replace;

use super::Corners;
use crate::reader::error::ReaderError;
use crate::reader::vision::resize::resize;

/// Greatest length of the long side.
const LONGEST: u32 = 2000;
/// Least length of the short side.
const SHORTEST: u32 = 30;
/// Greatest width divided by height without margins.
const WIDEST: u32 = 8;
/// The detector needs sides that are multiples of it.
const MULTIPLE: f64 = 32.0;

/// Image of a size that the detector can use.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The image.
    pub(super) image: RgbImage,
    original: [u32; 2],
    /// Original size divided by the scaled one.
    scale: [f32; 2],
    /// Rows that were added at the top.
    margin: u32,
}

impl Prepared {
    /// Scales an image and adds margins as needed.
    ///
    /// # Errors
    /// Returns [`ReaderError::Narrow`] if a side would vanish.
    pub(super) fn new(image: &RgbImage) -> Result<Self, ReaderError> {
        let original = [image.width(), image.height()];
        let narrow = || ReaderError::Narrow {
            width: original[0],
            height: original[1],
            longest: LONGEST,
        };
        let (mut scaled, mut scale) = (image.clone(), [1.0; 2]);
        let longest = scaled.width().max(scaled.height());
        if longest > LONGEST {
            (scaled, scale) = rescaled(&scaled, LONGEST, longest).ok_or_else(narrow)?;
        }
        let shortest = scaled.width().min(scaled.height());
        if shortest < SHORTEST {
            // RapidOCR forgets the first scale, so corners of such an image are wrong.
            (scaled, scale) = rescaled(&scaled, SHORTEST, shortest).ok_or_else(narrow)?;
        }
        let margin = margin(&scaled);
        Ok(Self {
            image: with_margins(scaled, margin),
            original,
            scale,
            margin,
        })
    }

    /// Returns corners in pixels of the original image.
    pub(super) fn original(&self, corners: Corners) -> Corners {
        let [width, height] = self.original.map(|side| side as f32);
        corners.map(|[x, y]| {
            let (x, y) = (x * self.scale[0], (y - self.margin as f32) * self.scale[1]);
            [x.max(0.0).min(width), y.max(0.0).min(height)]
        })
    }
}

/// Scales a side to a length, or nearly so. Returns the image with the old size divided by the new
/// one, or `None` if a side would vanish.
fn rescaled(image: &RgbImage, target: u32, side: u32) -> Option<(RgbImage, [f32; 2])> {
    let size = [image.width(), image.height()];
    let new_size = rounded(size, f64::from(target) / f64::from(side));
    if new_size.contains(&0) {
        return None;
    }
    let scale = [0, 1].map(|axis| (f64::from(size[axis]) / f64::from(new_size[axis])) as f32);
    Some((resize(image, new_size[0], new_size[1]), scale))
}

/// Returns a scaled size in whole multiples.
pub(super) fn rounded(size: [u32; 2], ratio: f64) -> [u32; 2] {
    size.map(|side| {
        let scaled = (f64::from(side) * ratio).trunc();
        ((scaled / MULTIPLE).round_ties_even() * MULTIPLE) as u32
    })
}

fn margin(image: &RgbImage) -> u32 {
    let (width, height) = image.dimensions();
    if height > SHORTEST && f64::from(width) / f64::from(height) <= f64::from(WIDEST) {
        return 0;
    }
    let height_with_margins = (width / WIDEST).max(SHORTEST) * 2;
    height_with_margins.abs_diff(height) / 2
}

fn with_margins(image: RgbImage, margin: u32) -> RgbImage {
    if margin == 0 {
        return image;
    }
    let mut result = RgbImage::new(image.width(), image.height() + 2 * margin);
    replace(&mut result, &image, 0, i64::from(margin));
    result
}
