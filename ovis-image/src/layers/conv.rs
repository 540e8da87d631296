use crate::kernels;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::uniform_param;

/// Two-dimensional convolution with a square kernel.
#[derive(Module, Debug)]
pub struct ConvLayer<B: Backend> {
    /// Weight, `[out, in, kernel, kernel]`.
    pub weight: Param<Tensor<B, 4>>,
    /// Bias, `[out]`.
    pub bias: Param<Tensor<B, 1>>,
    stride: usize,
    padding: usize,
}

impl<B: Backend> ConvLayer<B> {
    /// Creates a convolution that keeps the size: stride 1, padded by half the kernel.
    pub fn same(input: usize, output: usize, kernel: usize, device: &B::Device) -> Self {
        Self::new([input, output], kernel, 1, kernel / 2, device)
    }

    /// Creates a convolution with a stride and a padding on every side.
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

impl<B: Backend> ConvLayer<B> {
    /// Applies the convolution with a stride of 2, and one row and column of zeros after the input's
    /// last ones instead of its own padding.
    ///
    /// # Shapes
    /// - `input`: `[batch, in, height, width]`
    /// - output: `[batch, out, height / 2, width / 2]`, for even sides
    pub fn forward_halving(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        kernels::halving_convolution(input, self.weight.val(), self.bias.val())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestBackend, assert_close, random, randomized, tensor, values};

    /// Computes the expected convolution by its definition, with zeros around the input.
    fn expected(
        layer: &ConvLayer<TestBackend>,
        input: &Tensor<TestBackend, 4>,
    ) -> Tensor<TestBackend, 4> {
        let [batch, channels, height, width] = input.dims();
        let [out, _, kernel, _] = layer.weight.dims();
        let (weight, bias) = (values(layer.weight.val()), values(layer.bias.val()));
        let pixels = values(input.clone());
        let size = |side: usize| (side + 2 * layer.padding - kernel) / layer.stride + 1;
        let (rows, columns) = (size(height), size(width));
        let mut output = Vec::new();
        for item in 0..batch {
            for (row, bias) in weight.chunks_exact(channels * kernel * kernel).zip(&bias) {
                for (y, x) in (0..rows * columns).map(|at| (at / columns, at % columns)) {
                    let mut sum = f64::from(*bias);
                    for (at, weight) in row.iter().enumerate() {
                        let (channel, dy, dx) =
                            (at / (kernel * kernel), at / kernel % kernel, at % kernel);
                        let from = |at: usize, by: usize| {
                            (at * layer.stride + by).checked_sub(layer.padding)
                        };
                        if let (Some(y), Some(x)) = (from(y, dy), from(x, dx))
                            && y < height
                            && x < width
                        {
                            let plane = (item * channels + channel) * height;
                            sum += f64::from(*weight) * f64::from(pixels[(plane + y) * width + x]);
                        }
                    }
                    output.push(sum as f32);
                }
            }
        }
        tensor([batch, out, rows, columns], output)
    }

    #[test]
    fn a_convolution_is_the_sum_over_its_window() {
        let device = Default::default();
        for layer in [
            ConvLayer::same(3, 4, 3, &device),
            ConvLayer::same(3, 4, 1, &device),
            ConvLayer::new([3, 2], 3, 2, 0, &device),
        ] {
            let layer = randomized(layer, 1);
            let input = random(2, [2, 3, 7, 5]);
            assert_close(layer.forward(input.clone()), expected(&layer, &input), 1e-5);
        }
    }
}
