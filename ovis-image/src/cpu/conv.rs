//! Convolutions of images in NCHW.

use super::element::Element;
use super::gemm::{Bias, product};
use super::panel::Matrix;
use super::simd::Simd;
use super::winograd::{Shape, convolve};

/// A convolution with 3x3 weights `[outputs, channels, 3, 3]`, stride 1 and a border of zeros; the
/// number of outputs is the length of `bias`.
///
/// # Panics
/// If lengths disagree.
pub(crate) fn conv3x3<T: Element>(
    input: &[T],
    shape: [usize; 4],
    weight: &[T],
    bias: &[T],
    output: &mut [T],
) {
    conv3x3_with(Simd::detect(), input, shape, weight, bias, output);
}

fn conv3x3_with<T: Element>(
    simd: Simd,
    input: &[T],
    [batch, channels, height, width]: [usize; 4],
    weight: &[T],
    bias: &[T],
    output: &mut [T],
) {
    let shape = Shape {
        batch,
        channels,
        outputs: bias.len(),
        height,
        width,
    };
    convolve(simd, shape, input, weight, bias, output);
}

/// A convolution with 1x1 weights `[outputs, channels]`: a product of matrices for each image.
///
/// # Panics
/// If lengths disagree.
pub(crate) fn conv1x1<T: Element>(
    input: &[T],
    shape: [usize; 4],
    weight: &[T],
    bias: &[T],
    output: &mut [T],
) {
    conv1x1_with(Simd::detect(), input, shape, weight, bias, output);
}

fn conv1x1_with<T: Element>(
    simd: Simd,
    input: &[T],
    [batch, channels, height, width]: [usize; 4],
    weight: &[T],
    bias: &[T],
    output: &mut [T],
) {
    let (outputs, area) = (bias.len(), height * width);
    assert!(
        input.len() == batch * channels * area
            && weight.len() == outputs * channels
            && output.len() == batch * outputs * area,
        "lengths of a convolution"
    );
    if output.is_empty() {
        return;
    }
    let weight = Matrix::contiguous(weight, [outputs, channels]);
    for (image, output) in output.chunks_exact_mut(outputs * area).enumerate() {
        let size = channels * area;
        let pixels = &input[image * size..(image + 1) * size];
        let pixels = Matrix::new(pixels, [area, channels], [1, area]);
        product(simd, &weight, &pixels, Bias::Rows(bias), output);
    }
}
