//! Burn's tensors as LibTorch's, and back.

use burn::tensor::{Tensor, TensorPrimitive};
use burn_tch::{LibTorch, TchTensor};
use tch::Kind;

/// Returns the LibTorch tensor of a Burn tensor, which may share its memory with others: it may be
/// read, but not written.
pub(super) fn to_torch<const D: usize>(tensor: Tensor<LibTorch, D>) -> tch::Tensor {
    tensor.into_primitive().tensor().tensor
}

/// Wraps the output of an operation. Burn may later write to it in place, so it must not share its
/// memory with an operand.
pub(super) fn from_torch<const D: usize>(tensor: tch::Tensor) -> Tensor<LibTorch, D> {
    Tensor::from_primitive(TensorPrimitive::Float(TchTensor::new(tensor)))
}

/// Copies a tensor that may be a view of another. Burn writes to views through swapped axes as if
/// their memory were their own, see docs/upstream.md.
pub(super) fn owned<const D: usize>(tensor: Tensor<LibTorch, D>) -> Tensor<LibTorch, D> {
    from_torch(to_torch(tensor).copy())
}

/// Returns the tensor in f32; the same memory if it is in f32 already.
pub(super) fn in_f32(tensor: &tch::Tensor) -> tch::Tensor {
    tensor.to_kind(Kind::Float)
}
