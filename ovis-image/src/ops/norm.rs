use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

/// `(x - mean) / sqrt(var + eps)` over the last axis, without scale or shift, in f32.
///
/// # Shapes
/// - `input`: `[.., features]`, any float dtype
/// - output: `[.., features]`, f32
pub fn layer_norm_f32<B: Backend, const D: usize>(input: Tensor<B, D>, eps: f64) -> Tensor<B, D> {
    let input = input.cast(DType::F32);
    let centred = input.clone() - input.mean_dim(D - 1);
    let variance = centred.clone().powi_scalar(2).mean_dim(D - 1);
    centred / (variance + eps).sqrt()
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
