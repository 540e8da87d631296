//! Source images to start from: fitted to the request's size, optionally with a mask.

use std::sync::Arc;

use image::imageops::{self, FilterType};
use image::{GrayImage, RgbImage};
use serde::{Deserialize, Serialize};

use crate::error::{OvisImageError, Result};

/// Source image that a generation starts from, with its settings and an optional mask. Cheap to
/// clone.
#[derive(Debug, Clone)]
pub struct SourceImage {
    image: Arc<RgbImage>,
    settings: SourceSettings,
    mask: Option<Arc<GrayImage>>,
}

/// Settings of a source image: strength, fit and mask.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SourceSettings {
    /// Fraction of the denoising schedule to run: 0 returns the source image, 1 ignores it.
    pub strength: f64,
    /// Fitting of the image to the requested size.
    pub fit: ImageFit,
    /// Standard deviation of the blur of the mask's edge, in pixels.
    pub mask_blur: f32,
    /// Whether a mask limits the repainted area.
    pub is_masked: bool,
}

/// Fitting of an image to a size with another aspect ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ImageFit {
    /// Scales the image until it covers the size, and crops the edges.
    #[default]
    Crop,
    /// Scales each direction independently.
    Stretch,
}

impl SourceImage {
    /// Starts from an image with a strength of 0.6.
    pub fn new(image: RgbImage) -> Self {
        Self {
            image: Arc::new(image),
            settings: SourceSettings {
                strength: 0.6,
                fit: ImageFit::default(),
                mask_blur: 0.0,
                is_masked: false,
            },
            mask: None,
        }
    }

    /// Sets the fraction of the denoising schedule to run: the last `n * strength` of `n` steps
    /// (diffusers' `strength`). 0 returns the VAE's reconstruction, 1 is text to image.
    pub fn with_strength(mut self, strength: f64) -> Self {
        self.settings.strength = strength;
        self
    }

    /// Sets the fitting of the image to the request's size.
    pub fn with_fit(mut self, fit: ImageFit) -> Self {
        self.settings.fit = fit;
        self
    }

    /// Sets a mask of the image's size: white is repainted, black keeps its pixels.
    pub fn with_mask(mut self, mask: GrayImage) -> Self {
        self.mask = Some(Arc::new(mask));
        self.settings.is_masked = true;
        self
    }

    /// Sets the blur of the mask's edge: the standard deviation of a Gaussian, in pixels of the
    /// result.
    pub fn with_mask_blur(mut self, pixels: f32) -> Self {
        self.settings.mask_blur = pixels;
        self
    }

    /// Settings of the source image.
    pub fn settings(&self) -> SourceSettings {
        self.settings
    }

    /// Size of the image with each side rounded to a multiple, for a request of the same aspect
    /// ratio.
    pub fn size_in_multiples_of(&self, multiple: usize) -> (usize, usize) {
        let side = |side: u32| {
            let steps = (side as usize + multiple / 2) / multiple.max(1);
            steps.max(1) * multiple
        };
        (side(self.image.width()), side(self.image.height()))
    }

    /// Checks the settings and the mask.
    ///
    /// # Errors
    /// Returns [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) with
    /// the name of the first invalid argument.
    pub(crate) fn validate(&self) -> Result<()> {
        let refuse = |argument, reason| Err(OvisImageError::argument(argument, reason));
        let (width, height) = self.image.dimensions();
        let SourceSettings {
            strength,
            mask_blur,
            ..
        } = self.settings;
        if !(0.0..=1.0).contains(&strength) {
            return refuse("strength", format!("{strength} is not between 0 and 1"));
        }
        if width == 0 || height == 0 {
            return refuse("source_image", "the image has no pixels".to_owned());
        }
        if !(0.0..=MAX_BLUR).contains(&mask_blur) {
            return refuse(
                "mask_blur",
                format!("{mask_blur} is not between 0 and {MAX_BLUR}"),
            );
        }
        match &self.mask {
            Some(mask) if mask.dimensions() != (width, height) => refuse(
                "mask",
                format!(
                    "the mask is {}x{}, but the image is {width}x{height}",
                    mask.width(),
                    mask.height()
                ),
            ),
            _ => Ok(()),
        }
    }

    /// Fits the image to a size.
    pub(crate) fn fitted(&self, width: usize, height: usize) -> RgbImage {
        let Some([x, y, w, h]) = self.crop(width, height) else {
            return RgbImage::clone(&self.image);
        };
        // The part is not copied: photographs are large.
        let part = imageops::crop_imm(&*self.image, x, y, w, h);
        imageops::resize(&*part, width as u32, height as u32, FilterType::Lanczos3)
    }

    /// Fits the mask to a size. The values are row by row, 1 where the image is repainted.
    pub(crate) fn fitted_mask(&self, width: usize, height: usize) -> Option<Vec<f32>> {
        let mask = self.mask.as_ref()?;
        let mut mask = match self.crop(width, height) {
            None => GrayImage::clone(mask),
            Some([x, y, w, h]) => {
                let part = imageops::crop_imm(&**mask, x, y, w, h);
                imageops::resize(&*part, width as u32, height as u32, FilterType::Triangle)
            }
        };
        if self.settings.mask_blur > 0.0 {
            mask = imageops::blur(&mask, self.settings.mask_blur);
        }
        Some(mask.iter().map(|value| f32::from(*value) / 255.0).collect())
    }

    /// Part of the image to scale, `[x, y, width, height]`; `None` if the image already has the
    /// size.
    fn crop(&self, width: usize, height: usize) -> Option<[u32; 4]> {
        let (w, h) = self.image.dimensions();
        if (w as usize, h as usize) == (width, height) {
            return None;
        }
        if self.settings.fit == ImageFit::Stretch {
            return Some([0, 0, w, h]);
        }
        let scale = (width as f64 / f64::from(w)).max(height as f64 / f64::from(h));
        let side =
            |target: usize, whole: u32| ((target as f64 / scale).round() as u32).clamp(1, whole);
        let (part_w, part_h) = (side(width, w), side(height, h));
        Some([(w - part_w) / 2, (h - part_h) / 2, part_w, part_h])
    }
}

const MAX_BLUR: f32 = 128.0;

/// Number of steps to skip at the beginning of `steps` (diffusers: `get_timesteps` of its
/// image-to-image pipelines).
pub(crate) fn steps_left_out(steps: usize, strength: f64) -> usize {
    let taken = (steps as f64 * strength).min(steps as f64);
    (steps as f64 - taken) as usize
}

/// Reduces a mask to the latents' size: the mean of each cell of `scale` by `scale` pixels.
pub(crate) fn mask_of_latents(mask: &[f32], width: usize, scale: usize) -> Vec<f32> {
    let columns = width / scale;
    let rows = mask.len() / width / scale;
    let cell = |row: usize, column: usize| {
        let pixels = (0..scale * scale)
            .map(|i| mask[(row * scale + i / scale) * width + column * scale + i % scale]);
        pixels.sum::<f32>() / (scale * scale) as f32
    };
    (0..rows * columns)
        .map(|index| cell(index / columns, index % columns))
        .collect()
}

/// Blends the source over an image where the mask keeps it. Fully kept pixels keep their exact
/// values.
pub(crate) fn restore_kept_pixels(image: &mut RgbImage, source: &RgbImage, mask: &[f32]) {
    for ((pixel, original), weight) in image.pixels_mut().zip(source.pixels()).zip(mask) {
        for (value, original) in pixel.0.iter_mut().zip(original.0) {
            let (new, old) = (f32::from(*value), f32::from(original));
            *value = (old + (new - old) * weight).round() as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gradient(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 7]))
    }

    proptest! {
        #[test]
        fn any_image_fits_any_size(w in 1u32..40, h in 1u32..40, width in 1usize..5, height in 1usize..5, stretch: bool) {
            let fit = if stretch { ImageFit::Stretch } else { ImageFit::Crop };
            let source = SourceImage::new(gradient(w, h)).with_fit(fit).with_mask(GrayImage::new(w, h)).with_mask_blur(1.0);
            let (width, height) = (16 * width, 16 * height);
            let fitted = source.fitted(width, height);
            prop_assert_eq!(fitted.dimensions(), (width as u32, height as u32));
            prop_assert_eq!(source.fitted_mask(width, height).unwrap().len(), width * height);
        }

        #[test]
        fn steps_are_diffusers(steps in 1usize..100, strength in 0.0f64..=1.0) {
            let left_out = steps_left_out(steps, strength);
            prop_assert!(left_out <= steps);
            prop_assert_eq!(left_out == steps, strength == 0.0);
        }
    }

    #[test]
    fn an_image_of_the_right_size_is_left_alone() {
        let source = SourceImage::new(gradient(32, 16));
        assert_eq!(source.fitted(32, 16), gradient(32, 16));
        assert_eq!(source.size_in_multiples_of(16), (32, 16));
    }

    #[test]
    fn a_crop_is_the_middle_of_the_image() {
        let source = SourceImage::new(gradient(64, 16));
        assert_eq!(source.crop(16, 16), Some([24, 0, 16, 16]));
        assert_eq!(
            source.with_fit(ImageFit::Stretch).crop(16, 16),
            Some([0, 0, 64, 16])
        );
    }

    #[test]
    fn the_latents_mask_is_the_mean_of_its_pixels() {
        let mut mask = vec![0.0; 16 * 8];
        mask[..8].fill(1.0);
        assert_eq!(mask_of_latents(&mask, 16, 8), [0.125, 0.0]);
    }

    #[test]
    fn kept_pixels_keep_their_bits() {
        let mut result = gradient(2, 1);
        let source = RgbImage::from_pixel(2, 1, image::Rgb([9, 99, 199]));
        restore_kept_pixels(&mut result, &source, &[0.0, 1.0]);
        assert_eq!(result.get_pixel(0, 0).0, [9, 99, 199]);
        assert_eq!(result.get_pixel(1, 0), gradient(2, 1).get_pixel(1, 0));
    }
}
