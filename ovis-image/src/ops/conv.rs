use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn::tensor::module;
use burn::tensor::ops::{ConvOptions, InterpolateMode, InterpolateOptions};

/// Applies a convolution with a square kernel.
///
/// # Shapes
/// - `input`: `[batch, in, height, width]`
/// - `weight`: `[out, in, kernel, kernel]`
/// - `bias`: `[out]`
/// - output: `[batch, out, height', width']`
pub fn conv2d<B: Backend>(
    input: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    bias: Tensor<B, 1>,
    stride: usize,
    padding: usize,
) -> Tensor<B, 4> {
    if weight.dims()[2..] == [1, 1] && stride == 1 && padding == 0 {
        return pointwise(input, weight, bias);
    }
    let options = ConvOptions::new([stride; 2], [padding; 2], [1, 1], 1);
    module::conv2d(input, weight, Some(bias), options)
}

/// Computes a 1 x 1 convolution as a matrix product. CubeCL's kernel for it (`conv_im2col_1x1`)
/// gives wrong results for some strides of the input, and autotuning selects kernels by speed
/// alone.
fn pointwise<B: Backend>(
    input: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    bias: Tensor<B, 1>,
) -> Tensor<B, 4> {
    let [batch, channels, height, width] = input.dims();
    let out = weight.dims()[0];
    let pixels = input.reshape([batch, channels, height * width]);
    let weight = weight.reshape([1, out, channels]);
    (weight.matmul(pixels) + bias.reshape([1, out, 1])).reshape([batch, out, height, width])
}

/// Applies a convolution of stride 2 with one row and column of zeros after the input's last ones, as
/// the VAE's encoder does (diffusers: `Downsample2D`).
///
/// # Shapes
/// Same as [`conv2d`].
pub fn halving_convolution<B: Backend>(
    input: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    bias: Tensor<B, 1>,
) -> Tensor<B, 4> {
    conv2d(pad_right_and_bottom(input), weight, bias, 2, 0)
}

/// Appends one row and one column of zeros. Burn's `pad` fills with the backend's default dtype,
/// which panics for other dtypes.
fn pad_right_and_bottom<B: Backend>(input: Tensor<B, 4>) -> Tensor<B, 4> {
    let [batch, channels, height, width] = input.dims();
    let options = (&input.device(), input.dtype());
    let column = Tensor::zeros([batch, channels, height, 1], options);
    let row = Tensor::zeros([batch, channels, 1, width + 1], options);
    Tensor::cat(vec![Tensor::cat(vec![input, column], 3), row], 2)
}

/// Doubles height and width: every pixel becomes four.
///
/// # Shapes
/// - `input`: `[batch, channels, height, width]`
/// - output: `[batch, channels, 2 * height, 2 * width]`
pub fn double_size<B: Backend>(input: Tensor<B, 4>) -> Tensor<B, 4> {
    let [_, _, height, width] = input.dims();
    let nearest = InterpolateOptions::new(InterpolateMode::Nearest);
    module::interpolate(input, [2 * height, 2 * width], nearest)
}
