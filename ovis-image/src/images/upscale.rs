//! Upscaling between two passes, of latents or of images.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn::tensor::module::interpolate;
use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
use image::RgbImage;

use super::source_image::{ImageFit, SourceImage};

/// Scales an image with a Lanczos filter. Its aspect ratio may change a little, as sides are
/// rounded.
pub(crate) fn upscale_image(image: RgbImage, (width, height): (usize, usize)) -> RgbImage {
    let image = SourceImage::new(image).with_fit(ImageFit::Stretch);
    image.fitted(width, height)
}

/// Scales latents bilinearly to a shape, as `torch.nn.functional.interpolate` does without
/// `align_corners`.
///
/// # Shapes
/// - `latents`: `[images, channels, height, width]`
pub(crate) fn upscale_latents<B: Backend>(
    latents: &Tensor<B, 4>,
    [_, _, height, width]: [usize; 4],
) -> Tensor<B, 4> {
    let bilinear = InterpolateOptions::new(InterpolateMode::Bilinear).with_align_corners(false);
    interpolate(latents.clone(), [height, width], bilinear)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestBackend;

    #[test]
    fn latents_are_interpolated_between_their_centers() {
        let latents = Tensor::<TestBackend, 4>::from_data(
            [[[[0.0, 4.0]]], [[[8.0, -8.0]]]],
            &Default::default(),
        );
        let upscaled = upscale_latents(&latents, [2, 1, 2, 4]);
        let expected = Tensor::<TestBackend, 4>::from_data(
            [
                [[[0.0, 1.0, 3.0, 4.0], [0.0, 1.0, 3.0, 4.0]]],
                [[[8.0, 4.0, -4.0, -8.0], [8.0, 4.0, -4.0, -8.0]]],
            ],
            &Default::default(),
        );
        upscaled.into_data().assert_eq(&expected.into_data(), true);
    }
}
