use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use burn::tensor::module;
use burn::tensor::ops::ConvOptions;

/// A convolution with a square kernel.
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
    let options = ConvOptions::new([stride; 2], [padding; 2], [1, 1], 1);
    module::conv2d(input, weight, Some(bias), options)
}
