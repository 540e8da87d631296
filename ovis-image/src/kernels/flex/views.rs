//! Tensors of flex as slices and views that the kernels read, and slices as tensors.

use burn::tensor::{Tensor, TensorPrimitive};
use burn_flex::{Flex, FlexTensor};
use bytemuck::Pod;

use crate::cpu::{Element, Heads, Matrix, Rows, Unwritten};

pub(in crate::kernels) fn to_flex<const D: usize>(tensor: Tensor<Flex, D>) -> FlexTensor {
    tensor.into_primitive().tensor()
}

pub(in crate::kernels) fn from_flex<const D: usize>(tensor: FlexTensor) -> Tensor<Flex, D> {
    Tensor::from_primitive(TensorPrimitive::Float(tensor))
}

pub(in crate::kernels) use crate::cpu::zeros;

/// Creates the output of a kernel that writes all of its elements, as those that take
/// [`Unwritten`] do.
pub(in crate::kernels) fn output_of<T: Element>(
    length: usize,
    kernel: impl FnOnce(&mut Unwritten<T>),
) -> Vec<T> {
    // SAFETY: kernels that take `Unwritten` write every element.
    #[allow(unsafe_code)]
    unsafe {
        crate::cpu::filled(length, kernel)
    }
}

/// Creates a tensor in row-major order.
pub(in crate::kernels) fn tensor<T: Element + burn::tensor::Element, const D: usize>(
    values: Vec<T>,
    dims: [usize; D],
) -> Tensor<Flex, D> {
    from_flex(FlexTensor::from_data(burn::tensor::TensorData::new(
        values, dims,
    )))
}

/// Returns the tensor in row-major order, copied if necessary.
pub(in crate::kernels) fn contiguous<const D: usize>(tensor: Tensor<Flex, D>) -> FlexTensor {
    let tensor = to_flex(tensor);
    if tensor.is_contiguous() {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

/// Returns the tensor with adjacent elements on the last axis and without negative strides, copied
/// if necessary.
pub(in crate::kernels) fn dense_rows<const D: usize>(tensor: Tensor<Flex, D>) -> FlexTensor {
    let tensor = to_flex(tensor);
    let strides = tensor.layout().strides();
    let dense = strides[D - 1] == 1 || tensor.layout().shape()[D - 1] == 1;
    if dense && strides.iter().all(|stride| *stride >= 0) {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

/// Returns the elements from the tensor's first one on, up to its last one if it is contiguous.
pub(in crate::kernels) fn elements<T: Pod>(tensor: &FlexTensor) -> &[T] {
    let elements = &bytemuck::cast_slice(tensor.bytes())[tensor.layout().start_offset()..];
    if tensor.is_contiguous() {
        &elements[..tensor.layout().num_elements()]
    } else {
        elements
    }
}

/// Returns a stride of a tensor from [`dense_rows`] or [`contiguous`].
pub(in crate::kernels) fn stride(tensor: &FlexTensor, axis: usize) -> usize {
    tensor.layout().strides()[axis].unsigned_abs()
}

pub(in crate::kernels) fn size(tensor: &FlexTensor, axis: usize) -> usize {
    tensor.layout().shape()[axis]
}

/// Views `[rows, k]` as a matrix.
pub(in crate::kernels) fn matrix<T: Element>(tensor: &FlexTensor) -> Matrix<'_, T> {
    Matrix::new(
        elements(tensor),
        [size(tensor, 0), size(tensor, 1)],
        [stride(tensor, 0), 1],
    )
}

/// Views `[batch, tokens, width]` as rows.
pub(in crate::kernels) fn rows<T: Element>(tensor: &FlexTensor) -> Rows<'_, T> {
    Rows {
        data: elements(tensor),
        outer: size(tensor, 0),
        outer_stride: stride(tensor, 0),
        inner: size(tensor, 1),
        inner_stride: stride(tensor, 1),
        width: size(tensor, 2),
    }
}

/// Views `[batch or 1, 1, width]` as one row per batch item.
pub(in crate::kernels) fn per_batch<T: Element>(tensor: &FlexTensor) -> Rows<'_, T> {
    let outer_stride = match size(tensor, 0) {
        1 => 0,
        _ => stride(tensor, 0),
    };
    Rows {
        data: elements(tensor),
        outer: size(tensor, 0),
        outer_stride,
        inner: 1,
        inner_stride: 0,
        width: size(tensor, 2),
    }
}

/// Views `[batch, heads, tokens, head_dim]` as heads.
pub(in crate::kernels) fn split<T: Element>(tensor: &FlexTensor) -> Heads<'_, T> {
    Heads {
        data: elements(tensor),
        strides: [stride(tensor, 0), stride(tensor, 1), stride(tensor, 2)],
    }
}
