//! Tensors to pictures and back.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};
use image::RgbImage;

use crate::error::{OvisImageError, Phase, Result};

/// One image `[3, height, width]` in 0..1, row by row, to 8 bits, rounded as diffusers does.
pub(crate) fn to_rgb(planes: &[f32], width: usize, height: usize) -> RgbImage {
    let pixels = width * height;
    // Rounds halves to even, as numpy.
    let level = |value: f32| (value * 255.0).round_ties_even() as u8;
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let at = y as usize * width + x as usize;
        image::Rgb([
            level(planes[at]),
            level(planes[pixels + at]),
            level(planes[2 * pixels + at]),
        ])
    })
}

/// A picture as `[1, 3, height, width]` in -1..1.
pub(crate) fn from_rgb<B: Backend>(image: &RgbImage, device: &B::Device) -> Tensor<B, 4> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let planes: Vec<f32> = (0..3)
        .flat_map(|channel| {
            image
                .pixels()
                .map(move |pixel| f32::from(pixel[channel]) / 127.5 - 1.0)
        })
        .collect();
    Tensor::from_data(
        TensorData::new(planes, [1, 3, height, width]),
        (device, DType::F32),
    )
}

/// Downloads a tensor as f32.
pub(crate) fn download<B: Backend, const D: usize>(
    tensor: Tensor<B, D>,
    phase: Phase,
) -> Result<Vec<f32>> {
    tensor
        .try_into_data()
        .map_err(|error| OvisImageError::backend(phase, error))?
        .convert::<f32>()
        .into_vec::<f32>()
        .map_err(|error| OvisImageError::backend(phase, error))
}
