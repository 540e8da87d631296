use crate::kernels;
use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, s};

use super::low_rank::{LowRankAdapter, add_updates};
use super::uniform_param;

/// `y = x W^T + b`, with the weight as checkpoints store it.
#[derive(Module, Debug)]
pub struct LinearLayer<B: Backend> {
    /// `[out, in]`.
    pub weight: Param<Tensor<B, 2>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<B, 1>>>,
    /// Low-rank updates of it, those of one name side by side and in the order of their rows.
    pub adapters: Vec<LowRankAdapter<B>>,
    /// Whether the weight has the updates in it.
    pub(crate) adapters_are_merged: bool,
}

impl<B: Backend> LinearLayer<B> {
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
            adapters: Vec::new(),
            adapters_are_merged: false,
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
        let input = input.reshape([rows, in_features]);
        let output = if self.adapters.is_empty() || self.adapters_are_merged {
            kernels::linear_layer(input, weight, bias)
        } else {
            let output = kernels::linear_layer(input.clone(), weight, bias);
            add_updates(output, &input, &self.adapters)
        };
        dims[D - 1] = out_features;
        output.reshape(dims)
    }
}

impl<B: Backend> LinearLayer<B> {
    /// The weight with the updates of all adapters in it, summed in f32 and rounded once.
    ///
    /// # Shapes
    /// - output: `[out, in]`, in the weight's dtype
    pub fn merged_weight(&self) -> Tensor<B, 2> {
        let weight = self.weight.val();
        let dtype = weight.dtype();
        let mut merged = weight.cast(DType::F32);
        let [_, columns] = merged.dims();
        for adapter in self.adapters.iter().filter(|adapter| adapter.scale != 0.0) {
            let update = adapter.up.val().cast(DType::F32);
            let update = update.matmul(adapter.down.val().cast(DType::F32)) * adapter.strength();
            let rows = adapter.rows();
            let sum = merged.clone().slice(s![rows.clone(), ..]) + update;
            merged = merged.slice_assign([rows, 0..columns], sum);
        }
        merged.cast(dtype)
    }
}

/// torch's default for `nn.Linear`: U(-1/sqrt(in), 1/sqrt(in)).
fn bound(input: usize) -> f64 {
    1.0 / (input as f64).sqrt()
}
