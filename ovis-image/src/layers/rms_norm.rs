use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::constant_param;
use crate::ops;

/// Root-mean-square normalisation of the last axis, with a learned scale (arXiv 1910.07467).
#[derive(Module, Debug)]
pub struct RmsNormLayer<B: Backend> {
    /// `[features]`.
    pub weight: Param<Tensor<B, 1>>,
    eps: f64,
}

impl<B: Backend> RmsNormLayer<B> {
    /// A layer over `features`.
    pub fn new(features: usize, eps: f64, device: &B::Device) -> Self {
        Self {
            weight: constant_param([features], 1.0, device),
            eps,
        }
    }

    /// Normalises in f32 and returns the input's dtype.
    ///
    /// # Shapes
    /// - `input` and output: `[.., features]`
    pub fn forward<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        let dtype = input.dtype();
        self.forward_f32(input).cast(dtype)
    }

    /// The same, left in f32 for a caller that goes on in f32.
    ///
    /// # Shapes
    /// - `input` and output: `[.., features]`
    pub fn forward_f32<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        ops::rms_norm_f32(input, self.weight.val(), self.eps)
    }
}
