use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// `unconditional + scale * (conditional - unconditional)` (arXiv 2207.12598). At a scale of 1
/// this is the conditional prediction, so callers skip the second pass for scales up to 1.
///
/// # Shapes
/// - `conditional`, `unconditional` and output: the same, any
pub fn classifier_free_guidance<B: Backend, const D: usize>(
    conditional: Tensor<B, D>,
    unconditional: Tensor<B, D>,
    scale: f32,
) -> Tensor<B, D> {
    unconditional.clone() + (conditional - unconditional) * scale
}
