use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::constant_param;
use crate::backend::OvisOps;

/// Group normalisation over channels and space (arXiv 1803.08494).
#[derive(Module, Debug)]
pub struct GroupNormLayer<B: Backend> {
    /// `[channels]`.
    pub weight: Param<Tensor<B, 1>>,
    /// `[channels]`.
    pub bias: Param<Tensor<B, 1>>,
    groups: usize,
    eps: f64,
}

impl<B: OvisOps> GroupNormLayer<B> {
    /// A layer over `channels` in `groups`; the second divides the first.
    pub fn new(groups: usize, channels: usize, eps: f64, device: &B::Device) -> Self {
        Self {
            weight: constant_param([channels], 1.0, device),
            bias: constant_param([channels], 0.0, device),
            groups,
            eps,
        }
    }

    /// Normalises in f32 and returns the input's dtype.
    ///
    /// # Shapes
    /// - `input` and output: `[batch, channels, height, width]`
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        self.normalise(input, false)
    }

    /// The same, then SiLU.
    ///
    /// # Shapes
    /// - `input` and output: `[batch, channels, height, width]`
    pub fn forward_silu(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        self.normalise(input, true)
    }

    fn normalise(&self, input: Tensor<B, 4>, with_silu: bool) -> Tensor<B, 4> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        B::group_norm(input, weight, bias, self.groups, self.eps, with_silu)
    }
}
