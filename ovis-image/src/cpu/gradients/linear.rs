//! Gradients of a linear layer: two products, and a sum over rows.

use super::sums::sum_rows;
use crate::cpu::element::Element;
use crate::cpu::gemm::{Bias, product};
use crate::cpu::instruction_set::InstructionSet;
use crate::cpu::output::Unwritten;
use crate::cpu::panel::Matrix;
use crate::cpu::rows::Rows;

/// Computes `gradient weight`, the gradient of the input `[rows, in]`, from that of the output
/// `[rows, out]` and the weight `[out, in]`.
pub(crate) fn linear_input<T: Element>(
    set: InstructionSet,
    gradient: &Matrix<'_, T>,
    weight: &Matrix<'_, T>,
    output: &mut Unwritten<T>,
) {
    product(set, gradient, &weight.transposed(), Bias::None, output);
}

/// Computes `gradient^T input`, the gradient of the weight `[out, in]`.
pub(crate) fn linear_weight<T: Element>(
    set: InstructionSet,
    gradient: &Matrix<'_, T>,
    input: &Matrix<'_, T>,
    output: &mut Unwritten<T>,
) {
    let (gradient, input) = (gradient.transposed(), input.transposed());
    product(set, &gradient, &input, Bias::None, output);
}

/// Computes the gradient of the bias: the sum of the output's gradient over its rows.
pub(crate) fn linear_bias<T: Element>(set: InstructionSet, gradient: Rows<'_, T>) -> Vec<f32> {
    sum_rows(set, gradient)
}
