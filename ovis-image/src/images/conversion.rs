//! Conversion between tensors and images.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};
use image::RgbImage;

/// Rounds one image, `[3, height, width]` in 0..1, row by row, to 8 bits, as diffusers does.
pub(crate) fn to_rgb(planes: &[f32], width: usize, height: usize) -> RgbImage {
    let pixels = width * height;
    // Rounds halves to even, like numpy.
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

/// Converts an image to a tensor, `[1, 3, height, width]` in -1..1.
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
