use burn::tensor::activation::silu;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

use super::Activation;

/// `(x - mean) / sqrt(var + eps)` over the last axis, without scale or shift, in f32.
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

/// `x / sqrt(mean(x^2) + eps) * weight` over the last axis, in f32.
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

/// [`rms_norm_f32`] in the input's dtype.
pub fn rms_norm<B: Backend, const D: usize>(
    input: Tensor<B, D>,
    weight: Tensor<B, 1>,
    eps: f64,
) -> Tensor<B, D> {
    let dtype = input.dtype();
    rms_norm_f32(input, weight, eps).cast(dtype)
}

/// `(1 + scale) * layer_norm(hidden_states) + shift` (arXiv 2212.09748), in f32 and then the input's
/// dtype.
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

/// Group normalization over channels and space (arXiv 1803.08494) in f32, then the
/// activation, in the input's dtype.
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
