use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

use super::constant_param;

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

    /// Normalises in f32 and returns the input's dtype.
    ///
    /// # Shapes
    /// - `input` and output: `[batch, channels, height, width]`
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let dtype = input.dtype();
        let [batch, channels, height, width] = input.dims();
        let grouped = input.cast(DType::F32).reshape([
            batch,
            self.groups,
            channels / self.groups * height * width,
        ]);
        let centred = grouped.clone() - grouped.mean_dim(2);
        let variance = centred.clone().powi_scalar(2).mean_dim(2);
        let normalised =
            (centred / (variance + self.eps).sqrt()).reshape([batch, channels, height, width]);

        let per_channel =
            |param: &Param<Tensor<B, 1>>| param.val().cast(DType::F32).reshape([1, channels, 1, 1]);
        (normalised * per_channel(&self.weight) + per_channel(&self.bias)).cast(dtype)
    }
}
