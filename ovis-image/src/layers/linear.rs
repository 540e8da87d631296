use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::uniform_param;
use crate::backend::OvisOps;

/// `y = x W^T + b`, with the weight as checkpoints store it.
#[derive(Module, Debug)]
pub struct LinearLayer<B: Backend> {
    /// `[out, in]`.
    pub weight: Param<Tensor<B, 2>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<B, 1>>>,
}

impl<B: OvisOps> LinearLayer<B> {
    /// A layer from `input` to `output` features with a bias.
    pub fn new(input: usize, output: usize, device: &B::Device) -> Self {
        let mut layer = Self::without_bias(input, output, device);
        layer.bias = Some(uniform_param([output], bound(input), device));
        layer
    }

    /// A layer from `input` to `output` features without a bias.
    pub fn without_bias(input: usize, output: usize, device: &B::Device) -> Self {
        Self {
            weight: uniform_param([output, input], bound(input), device),
            bias: None,
        }
    }

    /// Applies the layer to the last axis.
    ///
    /// # Shapes
    /// - `input`: `[.., in]`, in the weight's dtype
    /// - output: `[.., out]`
    ///
    /// # Panics
    /// If the input's width or dtype is not the weight's.
    pub fn forward<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        let weight = self.weight.val();
        let [out_features, in_features] = weight.dims();
        let mut dims = input.dims();
        let rows = dims.iter().take(D - 1).product::<usize>();

        let bias = self.bias.as_ref().map(Param::val);
        let output = B::linear_layer(input.reshape([rows, in_features]), weight, bias);
        dims[D - 1] = out_features;
        output.reshape(dims)
    }
}

/// torch's default for `nn.Linear`: U(-1/sqrt(in), 1/sqrt(in)).
fn bound(input: usize) -> f64 {
    1.0 / (input as f64).sqrt()
}
