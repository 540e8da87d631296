use crate::kernels;
use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, s};

use super::low_rank::{LowRankAdapter, add_updates};
use super::uniform_param;

/// Linear layer `y = x W^T + b`, with the weight in the order of checkpoints.
#[derive(Module, Debug)]
pub struct LinearLayer<B: Backend> {
    /// Weight, `[out, in]`.
    pub weight: Param<Tensor<B, 2>>,
    /// Bias, `[out]`.
    pub bias: Option<Param<Tensor<B, 1>>>,
    /// Low-rank updates of the weight; the updates of one adapter are adjacent and in the order of
    /// their rows.
    pub adapters: Vec<LowRankAdapter<B>>,
    /// Set if the weight includes the updates.
    pub(crate) adapters_are_merged: bool,
}

impl<B: Backend> LinearLayer<B> {
    /// Creates a layer from `input` to `output` features with a bias.
    pub fn new(input: usize, output: usize, device: &B::Device) -> Self {
        let mut layer = Self::without_bias(input, output, device);
        layer.bias = Some(uniform_param([output], bound(input), device));
        layer
    }

    /// Creates a layer from `input` to `output` features without a bias.
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
    /// Panics if the input's width or dtype differs from the weight's.
    pub fn forward<const D: usize>(&self, input: Tensor<B, D>) -> Tensor<B, D> {
        let weight = self.weight.val();
        let [out_features, in_features] = weight.dims();
        let mut dims = input.dims();
        assert_eq!(
            dims[D - 1],
            in_features,
            "linear: the input's width differs from the weight's"
        );

        let bias = self.bias.as_ref().map(Param::val);
        let input = kernels::flatten(input);
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
    /// Computes the weight with the updates of all adapters merged, summed in f32 and rounded once.
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

/// Bound of torch's default initialization for `nn.Linear`: U(-1/sqrt(in), 1/sqrt(in)).
fn bound(input: usize) -> f64 {
    1.0 / (input as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestBackend, assert_close, random, randomized, tensor};

    fn layer() -> LinearLayer<TestBackend> {
        let mut layer = LinearLayer::new(2, 3, &Default::default());
        layer.weight = Param::from_tensor(tensor([3, 2], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        layer.bias = Some(Param::from_tensor(tensor([3], [0.5, -1.0, 0.0])));
        layer
    }

    #[test]
    fn a_layer_is_the_product_with_its_rows_plus_the_bias() {
        let output = layer().forward(tensor([1, 2, 2], [1.0, -1.0, 2.0, 0.5]));
        let expected = tensor([1, 2, 3], [-0.5, -2.0, -1.0, 3.5, 7.0, 13.0]);
        assert_close(output, expected, 0.0);
    }

    #[test]
    fn a_layer_without_a_bias_is_the_product() {
        let mut layer = layer();
        layer.bias = None;
        // A product of a single row is computed as two rows.
        let output = layer.forward(tensor([1, 2], [1.0, -1.0]));
        assert_close(output, tensor([1, 3], [-1.0, -1.0, -1.0]), 0.0);
    }

    #[test]
    fn adapters_beside_the_weight_and_merged_into_it_give_the_same() {
        let mut layer =
            randomized::<TestBackend, _>(LinearLayer::new(5, 6, &Default::default()), 1);
        // Updates of rows 0 and 1 and of rows 3 to 5, and a second LoRA over all rows.
        for (seed, first_row, rows) in [(2, 0, 2), (3, 3, 3), (4, 0, 6)] {
            layer.adapters.push(LowRankAdapter {
                down: Param::from_tensor(random(seed, [2, 5])),
                up: Param::from_tensor(random(seed + 10, [rows, 2])),
                first_row,
                scaling: 0.5,
                scale: 1.5,
                name: "style".to_owned(),
            });
        }
        let input = random::<TestBackend, 2>(20, [4, 5]);
        let beside = layer.forward(input.clone());
        let mut merged = layer.clone();
        merged.weight = Param::from_tensor(layer.merged_weight());
        merged.adapters_are_merged = true;
        assert_close(merged.forward(input.clone()), beside.clone(), 1e-5);

        layer
            .adapters
            .iter_mut()
            .for_each(|adapter| adapter.scale = 0.0);
        let off = layer.forward(input.clone());
        layer.adapters.clear();
        assert_close(off, layer.forward(input), 0.0);
    }
}
