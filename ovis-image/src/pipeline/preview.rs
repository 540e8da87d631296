//! Small pictures of latents without the VAE.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use nalgebra::{DMatrix, DVector};

use super::denoise::DenoisingStep;
use super::pretrained::{OvisImagePipeline, download};
use crate::backend::OvisOps;
use crate::error::{OvisImageError, Phase, Result};
use crate::sampling::NoiseGenerator;

/// A linear map from the channels of a latent to the colour of its 8x8 pixels, fitted to a VAE.
#[derive(Debug, Clone, PartialEq)]
pub struct PreviewDecoder {
    /// For each channel, then for the constant: red, green, blue in 0..1.
    weights: Vec<[f32; 3]>,
}

/// Pictures that the map is fitted to, and their sides in latents.
const PICTURES: usize = 6;
const SIDE: usize = 16;
/// Patches of colour along a side.
const PATCHES: u32 = 5;
/// Against channels that say nothing in the pictures.
const RIDGE: f64 = 1e-3;

impl<B: OvisOps> OvisImagePipeline<B> {
    /// Fits previews to this pipeline's VAE: it encodes a few synthetic pictures of coloured patches, hard
    /// and soft, and finds the linear map back to their colours. Takes as long as encoding six pictures of 128
    /// pixels a side, once.
    ///
    /// # Errors
    /// Those of [`encode_image`](Self::encode_image).
    pub fn preview_decoder(&self) -> Result<PreviewDecoder> {
        let scale = self.requirements.vae.scale_factor();
        let channels = self.requirements.vae.latent_channels;
        let cells = PICTURES * SIDE * SIDE;
        let mut inputs = DMatrix::<f64>::from_element(cells, channels + 1, 1.0);
        let mut colours = DMatrix::<f64>::zeros(cells, 3);
        for picture in 0..PICTURES {
            let image = patches(picture, (SIDE * scale) as u32);
            let latents = self.encode_image(&image)?;
            let latents = download(latents, Phase::Vae)?;
            let small = imageops::resize(&image, SIDE as u32, SIDE as u32, FilterType::Triangle);
            for (cell, pixel) in small.pixels().enumerate() {
                let row = picture * SIDE * SIDE + cell;
                for channel in 0..channels {
                    inputs[(row, channel)] = f64::from(latents[channel * SIDE * SIDE + cell]);
                }
                for (colour, value) in pixel.0.iter().enumerate() {
                    colours[(row, colour)] = f64::from(*value) / 255.0;
                }
            }
        }
        PreviewDecoder::fit(&inputs, &colours)
    }
}

impl PreviewDecoder {
    /// Least squares.
    fn fit(inputs: &DMatrix<f64>, colours: &DMatrix<f64>) -> Result<Self> {
        let unknowns = inputs.ncols();
        let square = inputs.tr_mul(inputs);
        let ridge = RIDGE * square.trace() / unknowns as f64;
        let square = square + DMatrix::from_diagonal(&DVector::from_element(unknowns, ridge));
        let solution = square
            .cholesky()
            .map(|square| square.solve(&inputs.tr_mul(colours)))
            .ok_or_else(|| OvisImageError::Backend {
                phase: Phase::Vae,
                reason: "the latents of the preview's pictures are not finite".to_owned(),
            })?;
        let weights = (0..unknowns)
            .map(|row| [0, 1, 2].map(|colour| solution[(row, colour)] as f32))
            .collect();
        Ok(Self { weights })
    }

    /// Pictures of clean latents, one pixel for each of theirs.
    ///
    /// # Shapes
    /// - `latents`: `[images, channels, height, width]`
    ///
    /// # Errors
    /// [`OvisImageError::ShapeMismatch`] for another number of channels;
    /// [`OvisImageError::Backend`] when the device fails.
    pub fn pictures<B: Backend>(&self, latents: Tensor<B, 4>) -> Result<Vec<RgbImage>> {
        let [images, channels, height, width] = latents.dims();
        let Some((constant, weights)) = self.weights.split_last() else {
            return Ok(Vec::new());
        };
        if channels != weights.len() {
            return Err(OvisImageError::ShapeMismatch {
                argument: "latents",
                meaning: "images, latent channels, height, width",
                expected: vec![images, weights.len(), height, width],
                actual: vec![images, channels, height, width],
            });
        }
        let values = download(latents, Phase::Denoising)?;
        let pixels = height * width;
        let picture = |planes: &[f32]| {
            RgbImage::from_fn(width as u32, height as u32, |x, y| {
                let at = y as usize * width + x as usize;
                let mut colour = *constant;
                for (channel, weights) in weights.iter().enumerate() {
                    let value = planes[channel * pixels + at];
                    for (sum, weight) in colour.iter_mut().zip(weights) {
                        *sum += value * weight;
                    }
                }
                Rgb(colour.map(|value| (value * 255.0).round() as u8))
            })
        };
        Ok(values
            .chunks_exact(channels * pixels)
            .map(picture)
            .collect())
    }
}

impl<B: OvisOps> DenoisingStep<B> {
    /// What the images are going to be, as far as this step's prediction tells: one pixel for 8x8.
    ///
    /// # Errors
    /// Those of [`PreviewDecoder::pictures`].
    pub fn preview(&self, decoder: &PreviewDecoder) -> Result<Vec<RgbImage>> {
        decoder.pictures(self.predicted_clean_latents())
    }
}

/// A picture of coloured patches; every other one has soft edges.
fn patches(index: usize, side: u32) -> RgbImage {
    let count = (PATCHES * PATCHES * 3) as usize;
    let colours = NoiseGenerator::from_seed(index as u64).randn(count);
    let patches = RgbImage::from_fn(PATCHES, PATCHES, |x, y| {
        let at = 3 * (y * PATCHES + x) as usize;
        Rgb([0, 1, 2].map(|colour| (128.0 + 80.0 * colours[at + colour]) as u8))
    });
    let filter = match index % 2 {
        0 => FilterType::Nearest,
        _ => FilterType::Triangle,
    };
    imageops::resize(&patches, side, side, filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_map_is_found() {
        let known = |row: usize| [0.3, -0.2, 0.7, 0.1][row];
        let inputs = DMatrix::from_fn(500, 4, |row, column| match column {
            3 => 1.0,
            _ => ((row * (column + 3) * 7919) % 101) as f64 / 50.0 - 1.0,
        });
        let colours = DMatrix::from_fn(500, 3, |row, _| {
            (0..4)
                .map(|column| known(column) * inputs[(row, column)])
                .sum()
        });
        let decoder = PreviewDecoder::fit(&inputs, &colours).unwrap();
        for (row, weights) in decoder.weights.iter().enumerate() {
            assert!(
                (f64::from(weights[0]) - known(row)).abs() < 5e-3,
                "{weights:?}"
            );
        }
    }
}
