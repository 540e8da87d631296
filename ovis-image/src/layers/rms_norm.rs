use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::constant_param;
use crate::kernels;
use crate::ops::{Pairs, RotaryTable};

/// Root-mean-square normalization of the last axis, with a learned scale (arXiv 1910.07467).
#[derive(Module, Debug)]
pub struct RmsNormLayer<B: Backend> {
    /// Learned scale, `[features]`.
    pub weight: Param<Tensor<B, 1>>,
    eps: f64,
}

impl<B: Backend> RmsNormLayer<B> {
    /// Creates a layer over `features` features.
    pub fn new(features: usize, eps: f64, device: &B::Device) -> Self {
        Self {
            weight: constant_param([features], 1.0, device),
            eps,
        }
    }

    /// Returns the value that is added to the mean square before taking the root.
    pub fn eps(&self) -> f64 {
        self.eps
    }

    /// Normalizes in f32 and returns the input's dtype.
    ///
    /// # Shapes
    /// - `input` and output: `[.., features]`
    pub fn forward<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        kernels::rms_norm(input, self.weight.val(), self.eps)
    }

    /// Splits projected tokens into heads, normalizes each head and rotates its pairs, in f32;
    /// returns the input's dtype.
    ///
    /// # Shapes
    /// - `projected`: `[batch, tokens, heads * features]`
    /// - output: `[batch, heads, tokens, features]`
    pub fn forward_heads(
        &self,
        projected: Tensor<B, 3>,
        rope: &RotaryTable<B>,
        pairs: Pairs,
    ) -> Tensor<B, 4> {
        kernels::norm_and_rotate(projected, self.weight.val(), self.eps, rope, pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestBackend, assert_close, random, tensor, values};

    #[test]
    fn rows_are_divided_by_their_root_mean_square_and_scaled() {
        const EPS: f64 = 1e-3;
        let weight = [0.5f32, -1.0, 2.0];
        let mut norm = RmsNormLayer::<TestBackend>::new(3, EPS, &Default::default());
        norm.weight = Param::from_tensor(tensor([3], weight));
        let input = random::<TestBackend, 3>(1, [2, 4, 3]);
        let expected: Vec<f32> = values(input.clone())
            .chunks_exact(3)
            .flat_map(|row| {
                let square: f64 = row.iter().map(|value| f64::from(*value).powi(2)).sum();
                let root = (square / 3.0 + EPS).sqrt();
                let scaled = row.iter().zip(weight);
                scaled.map(move |(value, weight)| (f64::from(*value) / root) as f32 * weight)
            })
            .collect();
        assert_close(norm.forward(input), tensor([2, 4, 3], expected), 1e-6);
    }
}
