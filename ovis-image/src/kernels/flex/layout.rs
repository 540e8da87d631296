//! Rearrangement on flex: views where strides allow it, and otherwise copies on all threads.

use burn::tensor::{DType, Tensor};
use burn_flex::{Flex, FlexTensor, Layout};

use super::views::{dense_rows, from_flex, output_of, stride, tensor, to_flex};
use crate::cpu::{self, ByteRows};

/// Joins two tensors along an axis.
pub(in crate::kernels) fn join<const D: usize>(
    tensors: [Tensor<Flex, D>; 2],
    axis: usize,
) -> Tensor<Flex, D> {
    join_all(tensors.to_vec(), axis)
}

/// Joins tensors along an axis.
pub(in crate::kernels) fn join_all<const D: usize>(
    tensors: Vec<Tensor<Flex, D>>,
    axis: usize,
) -> Tensor<Flex, D> {
    let same = tensors
        .windows(2)
        .all(|pair| pair[0].dtype() == pair[1].dtype());
    if !same || tensors.is_empty() {
        return Tensor::cat(tensors, axis);
    }
    // Heads whose tokens stand together in memory are joined in that order.
    let heads_within_tokens = D == 4
        && axis == 2
        && tensors.iter().all(|tensor| {
            let head_dim = tensor.dims()[D - 1];
            stride(&to_flex(tensor.clone()), 1) == head_dim
        });
    if heads_within_tokens {
        let tensors = tensors.into_iter().map(|tensor| tensor.swap_dims(1, 2));
        return join_all(tensors.collect(), 1).swap_dims(1, 2);
    }
    let mut dims = tensors[0].dims();
    dims[axis] = tensors.iter().map(|tensor| tensor.dims()[axis]).sum();
    let tensors: Vec<FlexTensor> = tensors.into_iter().map(dense_rows).collect();
    let Some(parts) = tensors
        .iter()
        .map(|tensor| rows_from(tensor, axis))
        .collect::<Option<Vec<_>>>()
    else {
        return Tensor::cat(tensors.into_iter().map(from_flex).collect(), axis);
    };
    let joined = joined(&parts, dims, tensors[0].dtype());
    joined.unwrap_or_else(|| Tensor::cat(tensors.into_iter().map(from_flex).collect(), axis))
}

/// Flattens all axes but the last.
pub(in crate::kernels) fn flatten<const D: usize>(input: Tensor<Flex, D>) -> Tensor<Flex, 2> {
    let dims = input.dims();
    let [rows, width] = [dims[..D - 1].iter().product(), dims[D - 1]];
    let dense = dense_rows(input);
    let start = dense.layout().start_offset();
    if let Some(stride) = one_stride(&dense, D - 1) {
        let layout = Layout::new([rows, width].into(), vec![stride as isize, 1], start);
        return from_flex(dense.with_layout(layout));
    }
    // A part of the second-last axis, as the models have.
    let copied =
        rows_from(&dense, D - 2).and_then(|part| joined(&[part], [rows, width], dense.dtype()));
    copied.unwrap_or_else(|| from_flex::<D>(dense).reshape([rows, width]))
}

/// Joins `[batch, heads, tokens, head_dim]` to `[batch, tokens, heads * head_dim]`.
pub(in crate::kernels) fn join_heads(heads: Tensor<Flex, 4>) -> Tensor<Flex, 3> {
    let [batch, count, tokens, head_dim] = heads.dims();
    let dims = [batch, tokens, count * head_dim];
    let dense = dense_rows(heads);
    if count > 1 && stride(&dense, 1) != head_dim {
        return from_flex::<4>(dense).swap_dims(1, 2).reshape(dims);
    }
    let strides = vec![stride(&dense, 0) as isize, stride(&dense, 2) as isize, 1];
    let layout = Layout::new(dims.into(), strides, dense.layout().start_offset());
    from_flex(dense.with_layout(layout))
}

/// Views a tensor as rows that all axes before `axis` number, in pieces along the axis itself.
fn rows_from(tensor: &FlexTensor, axis: usize) -> Option<ByteRows<'_>> {
    let shape = tensor.layout().shape();
    let mut expected = 1;
    for later in (axis + 1..shape.num_dims()).rev() {
        if shape[later] > 1 && stride(tensor, later) != expected {
            return None;
        }
        expected *= shape[later];
    }
    let size = tensor.dtype().size();
    let whole = shape[axis] == 1 || stride(tensor, axis) == expected;
    let (pieces, piece) = if whole {
        (1, shape[axis] * expected)
    } else {
        (shape[axis], expected)
    };
    Some(ByteRows {
        bytes: &tensor.bytes()[tensor.layout().start_offset() * size..],
        stride: one_stride(tensor, axis)? * size,
        pieces,
        piece_stride: stride(tensor, axis) * size,
        piece: piece * size,
    })
}

/// Distance of the rows that the first `axes` axes number, if it is the same for all.
fn one_stride(tensor: &FlexTensor, axes: usize) -> Option<usize> {
    let shape = tensor.layout().shape();
    let mut found = None;
    let mut count = 1;
    for axis in (0..axes).rev() {
        if shape[axis] == 1 {
            continue;
        }
        match found {
            None => found = Some(stride(tensor, axis)),
            Some(first) if stride(tensor, axis) != first * count => return None,
            Some(_) => (),
        }
        count *= shape[axis];
    }
    Some(found.unwrap_or_else(|| shape[axes..].iter().product()))
}

/// Writes the rows of all parts side by side into a new tensor; `None` for a dtype of no kernel.
fn joined<const D: usize>(
    parts: &[ByteRows<'_>],
    dims: [usize; D],
    dtype: DType,
) -> Option<Tensor<Flex, D>> {
    by_dtype!(dtype, T => {
        let output = output_of::<T>(dims.iter().product(), |output| {
            cpu::join(parts, cpu::bytes_of(output));
        });
        Some(tensor(output, dims))
    }, None)
}
