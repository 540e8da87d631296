//! Batches of lines, each of them 48 pixels high.

use image::RgbImage;
use rten_tensor::NdTensor;

use crate::reader::vision::resize::resize;

/// Height of a line for the networks.
pub(super) const HEIGHT: u32 = 48;

/// Number of lines that are read at once.
const LINES: usize = 6;

/// Returns the width of an image divided by its height.
pub(super) fn aspect(image: &RgbImage) -> f64 {
    f64::from(image.width()) / f64::from(image.height())
}

/// Returns the numbers of the images of each batch, narrow images first.
pub(super) fn batches(images: &[RgbImage]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..images.len()).collect();
    order.sort_by(|first, second| aspect(&images[*first]).total_cmp(&aspect(&images[*second])));
    order.chunks(LINES).map(<[usize]>::to_vec).collect()
}

/// Returns images as the networks take them: scaled to the height, blue first, from -1 to 1, with
/// zeros at the right up to `width`.
pub(super) fn batch<'i>(
    images: impl ExactSizeIterator<Item = &'i RgbImage>,
    width: u32,
) -> NdTensor<f32, 4> {
    let (height, row) = (HEIGHT as usize, width as usize);
    let mut values = vec![0.0_f32; images.len() * 3 * height * row];
    let shape = [images.len(), 3, height, row];
    for (image, values) in images.zip(values.chunks_exact_mut(3 * height * row)) {
        let needed = (f64::from(HEIGHT) * aspect(image)).ceil();
        let scaled = resize(image, needed.min(f64::from(width)) as u32, HEIGHT);
        for (x, y, pixel) in scaled.enumerate_pixels() {
            for (channel, byte) in pixel.0.into_iter().rev().enumerate() {
                let at = (channel * height + y as usize) * row + x as usize;
                values[at] = (f32::from(byte) / 255.0 - 0.5) / 0.5;
            }
        }
    }
    NdTensor::from_data(shape, values)
}
