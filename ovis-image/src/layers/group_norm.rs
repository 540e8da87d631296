use crate::kernels;
use crate::ops::Activation;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::constant_param;

/// Group normalization over channels and space (arXiv 1803.08494).
#[derive(Module, Debug)]
pub struct GroupNormLayer<B: Backend> {
    /// Scale of each channel, `[channels]`.
    pub weight: Param<Tensor<B, 1>>,
    /// Shift of each channel, `[channels]`.
    pub bias: Param<Tensor<B, 1>>,
    groups: usize,
    eps: f64,
}

impl<B: Backend> GroupNormLayer<B> {
    /// Creates a layer over `channels` channels in `groups` groups, which must divide them.
    pub fn new(groups: usize, channels: usize, eps: f64, device: &B::Device) -> Self {
        Self {
            weight: constant_param([channels], 1.0, device),
            bias: constant_param([channels], 0.0, device),
            groups,
            eps,
        }
    }

    /// Returns the number of groups.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Normalizes in f32 and returns the input's dtype.
    ///
    /// # Shapes
    /// - `input` and output: `[batch, channels, height, width]`
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        self.normalize(input, Activation::Identity)
    }

    /// Normalizes like [`forward`](Self::forward), then applies SiLU.
    ///
    /// # Shapes
    /// - `input` and output: `[batch, channels, height, width]`
    pub fn forward_silu(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        self.normalize(input, Activation::Silu)
    }

    fn normalize(&self, input: Tensor<B, 4>, activation: Activation) -> Tensor<B, 4> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        kernels::group_norm(input, weight, bias, self.groups, self.eps, activation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestBackend, assert_close, random, tensor, values};

    const EPS: f64 = 1e-3;
    const SHAPE: [usize; 4] = [2, 6, 3, 5];
    const GROUPS: usize = 3;

    /// Computes the expected result by the formula, group by group, in f64.
    fn expected(input: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
        let [_, channels, height, width] = SHAPE;
        let pixels = height * width;
        let group = channels / GROUPS * pixels;
        let mut output = Vec::new();
        for (index, values) in input.chunks_exact(group).enumerate() {
            let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / group as f64;
            let squares = values.iter().map(|v| (f64::from(*v) - mean).powi(2));
            let deviation = (squares.sum::<f64>() / group as f64 + EPS).sqrt();
            for (position, value) in values.iter().enumerate() {
                let channel = (index * group + position) / pixels % channels;
                let normalized = (f64::from(*value) - mean) / deviation;
                let scaled = normalized * f64::from(weight[channel]) + f64::from(bias[channel]);
                output.push(scaled as f32);
            }
        }
        output
    }

    #[test]
    fn groups_of_channels_have_mean_0_and_variance_1_before_scale_and_shift() {
        let mut norm = GroupNormLayer::<TestBackend>::new(GROUPS, 6, EPS, &Default::default());
        norm.weight = Param::from_tensor(random(1, [6]));
        norm.bias = Param::from_tensor(random(2, [6]));
        let input = random::<TestBackend, 4>(3, SHAPE) + 2.0;
        let expected = expected(
            &values(input.clone()),
            &values(norm.weight.val()),
            &values(norm.bias.val()),
        );
        assert_close(
            norm.forward(input.clone()),
            tensor(SHAPE, expected.clone()),
            1e-5,
        );

        let silu = |value: &f32| value / (1.0 + (-value).exp());
        let expected: Vec<f32> = expected.iter().map(silu).collect();
        assert_close(norm.forward_silu(input), tensor(SHAPE, expected), 1e-5);
    }
}
