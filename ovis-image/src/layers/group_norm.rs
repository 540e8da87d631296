use crate::kernels;
use crate::ops::Activation;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::constant_param;

/// Group normalization over channels and space (arXiv 1803.08494).
#[derive(Module, Debug)]
pub struct GroupNormLayer<B: Backend> {
    /// `[channels]`.
    pub weight: Param<Tensor<B, 1>>,
    /// `[channels]`.
    pub bias: Param<Tensor<B, 1>>,
    groups: usize,
    eps: f64,
}

impl<B: Backend> GroupNormLayer<B> {
    /// A layer over `channels` in `groups`; the second divides the first.
    pub fn new(groups: usize, channels: usize, eps: f64, device: &B::Device) -> Self {
        Self {
            weight: constant_param([channels], 1.0, device),
            bias: constant_param([channels], 0.0, device),
            groups,
            eps,
        }
    }

    /// Number of groups.
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

    /// The same, then SiLU.
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
