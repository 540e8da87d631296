use burn::tensor::Tensor;
use burn::tensor::activation::silu;
use burn::tensor::backend::Backend;

/// `silu(gate) * up` (arXiv 2002.05202), of tensors of one shape.
pub fn swiglu<B: Backend, const D: usize>(gate: Tensor<B, D>, up: Tensor<B, D>) -> Tensor<B, D> {
    silu(gate) * up
}

/// `residual + gate * update` (arXiv 2212.09748).
///
/// # Shapes
/// - `residual`, `update` and output: `[batch, tokens, hidden]`
/// - `gate`: `[batch or 1, 1, hidden]`
pub fn add_gated<B: Backend>(
    residual: Tensor<B, 3>,
    gate: Tensor<B, 3>,
    update: Tensor<B, 3>,
) -> Tensor<B, 3> {
    residual + gate * update
}
