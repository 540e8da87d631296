use burn::tensor::activation::silu;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

use super::Activation;

/// Normalizes the last axis without scale or shift: `(x - mean) / sqrt(var + eps)`, in f32.
///
/// # Shapes
/// - `input`: `[.., features]`, any float dtype
/// - output: `[.., features]`, f32
pub fn layer_norm_f32<B: Backend, const D: usize>(input: Tensor<B, D>, eps: f64) -> Tensor<B, D> {
    let input = input.cast(DType::F32);
    let centered = input.clone() - input.mean_dim(D - 1);
    let variance = centered.clone().powi_scalar(2).mean_dim(D - 1);
    centered / (variance + eps).sqrt()
}

/// Normalizes the last axis by its root mean square: `x / sqrt(mean(x^2) + eps) * weight`, in f32.
///
/// # Shapes
/// - `input`: `[.., features]`, any float dtype
/// - `weight`: `[features]`
/// - output: `[.., features]`, f32
pub fn rms_norm_f32<B: Backend, const D: usize>(
    input: Tensor<B, D>,
    weight: Tensor<B, 1>,
    eps: f64,
) -> Tensor<B, D> {
    let input = input.cast(DType::F32);
    let mean_square = input.clone().powi_scalar(2).mean_dim(D - 1);
    input / (mean_square + eps).sqrt() * weight.cast(DType::F32).unsqueeze()
}

/// Computes [`rms_norm_f32`] and returns the input's dtype.
pub fn rms_norm<B: Backend, const D: usize>(
    input: Tensor<B, D>,
    weight: Tensor<B, 1>,
    eps: f64,
) -> Tensor<B, D> {
    let dtype = input.dtype();
    rms_norm_f32(input, weight, eps).cast(dtype)
}

/// Computes `(1 + scale) * layer_norm(hidden_states) + shift` (arXiv 2212.09748) in f32 and returns
/// the input's dtype.
///
/// # Shapes
/// - `hidden_states` and output: `[batch, tokens, hidden]`
/// - `shift`, `scale`: `[batch or 1, 1, hidden]`
pub fn modulated_norm<B: Backend>(
    hidden_states: Tensor<B, 3>,
    shift: Tensor<B, 3>,
    scale: Tensor<B, 3>,
    eps: f64,
) -> Tensor<B, 3> {
    let dtype = hidden_states.dtype();
    let normalized = layer_norm_f32(hidden_states, eps);
    (normalized * (scale.cast(DType::F32) + 1.0) + shift.cast(DType::F32)).cast(dtype)
}

/// Applies group normalization over channels and space (arXiv 1803.08494) in f32, then the
/// activation in the input's dtype.
///
/// # Shapes
/// - `input` and output: `[batch, channels, height, width]`
/// - `weight`, `bias`: `[channels]`
pub fn group_norm<B: Backend>(
    input: Tensor<B, 4>,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    groups: usize,
    eps: f64,
    activation: Activation,
) -> Tensor<B, 4> {
    let dtype = input.dtype();
    let [batch, channels, height, width] = input.dims();
    let grouped =
        input
            .cast(DType::F32)
            .reshape([batch, groups, channels / groups * height * width]);
    let centered = grouped.clone() - grouped.mean_dim(2);
    let variance = centered.clone().powi_scalar(2).mean_dim(2);
    let normalized = (centered / (variance + eps).sqrt()).reshape([batch, channels, height, width]);

    let per_channel = |param: Tensor<B, 1>| param.cast(DType::F32).reshape([1, channels, 1, 1]);
    let output = (normalized * per_channel(weight) + per_channel(bias)).cast(dtype);
    match activation {
        Activation::Identity => output,
        Activation::Silu => silu(output),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestBackend, TestTensor, assert_close, random, tensor, values};

    const EPS: f64 = 1e-3;

    #[test]
    fn a_modulated_norm_scales_and_shifts_rows_of_mean_0_and_variance_1() {
        let input: TestTensor<3> = random::<TestBackend, 3>(1, [2, 3, 4]) * 3.0 + 1.0;
        for items in [1, 2] {
            let shift: TestTensor<3> = random(2, [items, 1, 4]);
            let scale: TestTensor<3> = random(3, [items, 1, 4]);
            let (shifts, scales) = (values(shift.clone()), values(scale.clone()));
            let mut expected = Vec::new();
            for (index, row) in values(input.clone()).chunks_exact(4).enumerate() {
                let mean = row.iter().map(|v| f64::from(*v)).sum::<f64>() / 4.0;
                let squares = row.iter().map(|v| (f64::from(*v) - mean).powi(2));
                let deviation = (squares.sum::<f64>() / 4.0 + EPS).sqrt();
                // A single vector serves all items of the batch.
                let item = (index / 3) % items;
                for (channel, value) in row.iter().enumerate() {
                    let normalized = (f64::from(*value) - mean) / deviation;
                    let scale = 1.0 + f64::from(scales[4 * item + channel]);
                    expected.push((normalized * scale) as f32 + shifts[4 * item + channel]);
                }
            }
            let output = modulated_norm(input.clone(), shift, scale, EPS);
            assert_close(output, tensor([2, 3, 4], expected), 1e-5);
        }
    }

    #[test]
    fn a_layer_norm_does_not_see_shift_or_scale_of_its_input() {
        let input: TestTensor<2> = random(1, [5, 8]);
        let moved = layer_norm_f32(input.clone() * 4.0 + 7.0, 0.0);
        assert_close(layer_norm_f32(input, 0.0), moved, 1e-5);
    }
}
