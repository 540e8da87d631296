//! Part of an image that counts in the loss.

use std::path::PathBuf;

use anyhow::Result;
use image::{DynamicImage, GrayImage, Luma};

use crate::shared::input_image;

/// Part of an image that counts in the loss: what is white in a mask.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Mask {
    /// The whole image.
    #[default]
    Whole,
    /// The opaque part.
    Alpha,
    /// The part that is white in another image, which is stretched to the size of this one.
    File(PathBuf),
}

impl Mask {
    /// Returns the mask of an image, in its size. `None` if all of it counts.
    ///
    /// # Errors
    /// Returns an error that names the file of the mask if it cannot be read.
    pub fn of(&self, image: &DynamicImage) -> Result<Option<GrayImage>> {
        let mask = match self {
            Self::Whole => return Ok(None),
            Self::Alpha if !image.color().has_alpha() => return Ok(None),
            Self::Alpha => {
                let image = image.to_rgba8();
                GrayImage::from_fn(image.width(), image.height(), |x, y| {
                    Luma([image.get_pixel(x, y).0[3]])
                })
            }
            Self::File(path) => input_image::read(path)?.image.into_luma8(),
        };
        Ok(Some(mask))
    }
}

/// Returns the mean of a mask in each cell of a grid over it, from 0 (black) to 1 (white), row by
/// row.
pub fn cell_means(mask: &GrayImage, [rows, columns]: [usize; 2]) -> Vec<f32> {
    let (width, height) = (mask.width() as usize, mask.height() as usize);
    let range = |index: usize, count: usize, side: usize| {
        side * index / count.max(1)..side * (index + 1) / count.max(1)
    };
    let cell = |row: usize, column: usize| {
        let (mut sum, mut count) = (0_u64, 0_u64);
        for y in range(row, rows, height) {
            for x in range(column, columns, width) {
                sum += u64::from(mask.get_pixel(x as u32, y as u32).0[0]);
                count += 1;
            }
        }
        sum as f32 / (255 * count.max(1)) as f32
    };
    (0..rows)
        .flat_map(|row| (0..columns).map(move |column| cell(row, column)))
        .collect()
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage, Rgba, RgbaImage};

    use super::*;

    #[test]
    fn opaque_and_white_parts_count() {
        let clear = RgbaImage::from_fn(4, 2, |x, _| Rgba([9, 9, 9, if x < 2 { 255 } else { 0 }]));
        let mask = Mask::Alpha.of(&clear.into()).unwrap().unwrap();
        assert_eq!(cell_means(&mask, [1, 2]), [1.0, 0.0]);

        let plain: DynamicImage = RgbImage::from_pixel(4, 2, Rgb([9; 3])).into();
        assert_eq!(Mask::Alpha.of(&plain).unwrap(), None);
        assert_eq!(Mask::Whole.of(&plain).unwrap(), None);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.png");
        let gray = GrayImage::from_fn(2, 2, |x, y| Luma([if x == y { 255 } else { 51 }]));
        gray.save(&path).unwrap();
        let mask = Mask::File(path).of(&plain).unwrap().unwrap();
        assert_eq!(cell_means(&mask, [2, 2]), [1.0, 0.2, 0.2, 1.0]);
        assert_eq!(cell_means(&mask, [1, 1]), [0.6]);
        let missing = Mask::File(folder.path().join("missing.png"));
        let error = format!("{:#}", missing.of(&plain).unwrap_err());
        assert!(error.contains("missing.png"), "{error}");
    }
}
