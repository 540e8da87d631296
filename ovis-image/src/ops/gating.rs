use burn::tensor::Tensor;
use burn::tensor::activation::silu;
use burn::tensor::backend::Backend;

/// Computes `silu(gate) * up` (arXiv 2002.05202) for tensors of equal shape.
pub fn swiglu<B: Backend, const D: usize>(gate: Tensor<B, D>, up: Tensor<B, D>) -> Tensor<B, D> {
    silu(gate) * up
}

/// Computes `residual + gate * update` (arXiv 2212.09748).
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{TestTensor, assert_close, random, tensor};

    #[test]
    fn swiglu_is_zero_at_a_closed_gate_and_nearly_linear_at_an_open_one() {
        let up: TestTensor<1> = tensor([3], [2.0, 2.0, 2.0]);
        let output = swiglu(tensor([3], [-40.0, 0.0, 40.0]), up);
        assert_close(output, tensor([3], [0.0, 0.0, 80.0]), 1e-5);
    }

    #[test]
    fn a_gate_of_zero_leaves_the_residual() {
        let residual: TestTensor<3> = random(1, [2, 3, 4]);
        let gate = tensor([2, 1, 4], [0.0; 8]);
        let output = add_gated(residual.clone(), gate, random(2, [2, 3, 4]));
        assert_close(output, residual, 0.0);
    }
}
