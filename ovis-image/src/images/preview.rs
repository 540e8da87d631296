//! Small previews of latents without the VAE, by a linear map from the channels of a latent to a
//! color that is fitted to the VAE by least squares.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use super::download::download;
use super::least_squares::NormalEquations;
use crate::error::{OvisImageError, Phase, RequestError, Result};
use crate::sampling::NoiseGenerator;

/// Linear map from the channels of a latent to the color of its 8x8 pixels, fitted to a VAE.
#[derive(Debug, Clone, PartialEq)]
pub struct PreviewDecoder {
    /// Red, green and blue weights of each channel, then of the constant, for colors in 0..1.
    weights: Vec<[f32; 3]>,
}

/// Collects images and their latents, and fits a [`PreviewDecoder`] to them.
pub(crate) struct PreviewFit {
    equations: NormalEquations,
    channels: usize,
}

/// Number of images that the map is fitted to.
const IMAGES: usize = 6;
/// Side of each image in latents.
const SIDE: usize = 16;
/// Number of color patches along a side.
const PATCHES: u32 = 5;
/// Ridge penalty, which keeps the weights of uninformative channels small.
const RIDGE: f64 = 1e-3;

impl PreviewFit {
    pub(crate) fn new(channels: usize) -> Self {
        Self {
            equations: NormalEquations::new(channels + 1),
            channels,
        }
    }

    /// Generates the images to encode, for a VAE that reduces by `scale`.
    pub(crate) fn images(scale: usize) -> impl Iterator<Item = RgbImage> {
        (0..IMAGES).map(move |index| patches(index, (SIDE * scale) as u32))
    }

    /// Adds an image and its latents, `[channels, SIDE, SIDE]`.
    pub(crate) fn add(&mut self, image: &RgbImage, latents: &[f32]) {
        let cells = SIDE * SIDE;
        let small = imageops::resize(image, SIDE as u32, SIDE as u32, FilterType::Triangle);
        let mut input = vec![1.0; self.channels + 1];
        for (cell, pixel) in small.pixels().enumerate() {
            for (channel, value) in input[..self.channels].iter_mut().enumerate() {
                *value = f64::from(latents[channel * cells + cell]);
            }
            let color = pixel.0.map(|value| f64::from(value) / 255.0);
            self.equations.add(&input, color);
        }
    }

    /// # Errors
    /// Returns [`RuntimeError::Backend`] if the latents were not finite.
    pub(crate) fn solve(self) -> Result<PreviewDecoder> {
        let solution = self.equations.solve(RIDGE);
        let solution = solution.ok_or_else(|| {
            OvisImageError::backend(
                Phase::Vae,
                "the latents of the preview's images are not finite",
            )
        })?;
        let weights = solution
            .into_iter()
            .map(|row| row.map(|value| value as f32));
        Ok(PreviewDecoder {
            weights: weights.collect(),
        })
    }
}

impl PreviewDecoder {
    /// Decodes clean latents to images with one pixel per latent.
    ///
    /// # Shapes
    /// - `latents`: `[images, channels, height, width]`
    ///
    /// # Errors
    /// Returns [`RequestError::ShapeMismatch`] if the number of channels differs, and
    /// [`RuntimeError::Backend`](crate::error::RuntimeError::Backend) if the device fails.
    pub fn images<B: Backend>(&self, latents: Tensor<B, 4>) -> Result<Vec<RgbImage>> {
        let [images, channels, height, width] = latents.dims();
        let Some((constant, weights)) = self.weights.split_last() else {
            return Ok(Vec::new());
        };
        if channels != weights.len() {
            return Err(RequestError::ShapeMismatch {
                argument: "latents",
                meaning: "images, latent channels, height, width",
                expected: vec![images, weights.len(), height, width],
                actual: vec![images, channels, height, width],
            }
            .into());
        }
        let values = download(latents, Phase::Denoising)?;
        let pixels = height * width;
        let image = |planes: &[f32]| {
            RgbImage::from_fn(width as u32, height as u32, |x, y| {
                let at = y as usize * width + x as usize;
                let mut color = *constant;
                for (channel, weights) in weights.iter().enumerate() {
                    let value = planes[channel * pixels + at];
                    for (sum, weight) in color.iter_mut().zip(weights) {
                        *sum += value * weight;
                    }
                }
                Rgb(color.map(|value| (value * 255.0).round() as u8))
            })
        };
        Ok(values.chunks_exact(channels * pixels).map(image).collect())
    }
}

/// Draws an image of colored patches. Every other image has soft edges.
fn patches(index: usize, side: u32) -> RgbImage {
    let count = (PATCHES * PATCHES * 3) as usize;
    let colors = NoiseGenerator::from_seed(index as u64).randn(count);
    let patches = RgbImage::from_fn(PATCHES, PATCHES, |x, y| {
        let at = 3 * (y * PATCHES + x) as usize;
        Rgb([0, 1, 2].map(|color| (128.0 + 80.0 * colors[at + color]) as u8))
    });
    let filter = if index.is_multiple_of(2) {
        FilterType::Nearest
    } else {
        FilterType::Triangle
    };
    imageops::resize(&patches, side, side, filter)
}
