use crate::kernels;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::uniform_param;

/// A square 2-D convolution.
#[derive(Module, Debug)]
pub struct ConvLayer<B: Backend> {
    /// `[out, in, kernel, kernel]`.
    pub weight: Param<Tensor<B, 4>>,
    /// `[out]`.
    pub bias: Param<Tensor<B, 1>>,
    stride: usize,
    padding: usize,
}

impl<B: Backend> ConvLayer<B> {
    /// A convolution that keeps the size: stride 1, padded by half the kernel.
    pub fn same(input: usize, output: usize, kernel: usize, device: &B::Device) -> Self {
        Self::new([input, output], kernel, 1, kernel / 2, device)
    }

    /// A convolution with its stride and its padding on every side.
    pub fn new(
        [input, output]: [usize; 2],
        kernel: usize,
        stride: usize,
        padding: usize,
        device: &B::Device,
    ) -> Self {
        let bound = 1.0 / ((input * kernel * kernel) as f64).sqrt();
        Self {
            weight: uniform_param([output, input, kernel, kernel], bound, device),
            bias: uniform_param([output], bound, device),
            stride,
            padding,
        }
    }

    /// Applies the convolution.
    ///
    /// # Shapes
    /// - `input`: `[batch, in, height, width]`
    /// - output: `[batch, out, height', width']`
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        kernels::convolution(
            input,
            self.weight.val(),
            self.bias.val(),
            self.stride,
            self.padding,
        )
    }
}
