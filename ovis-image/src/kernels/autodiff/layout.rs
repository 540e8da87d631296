//! Rearrangement of tensors. Gradients are rearranged back, as views where strides allow it.

use burn::tensor::Tensor;
use burn_flex::{Flex, FlexTensor};

use super::node::{Recorded, Saved, operand, record, value};
use crate::kernels::flex;
use crate::kernels::flex::views::{from_flex, to_flex};

#[derive(Debug, Clone)]
struct Join<const D: usize> {
    axis: usize,
    sizes: [usize; 2],
}

impl<const D: usize> Saved<2> for Join<D> {
    fn gradients(self, output: FlexTensor, _wanted: [bool; 2]) -> [Option<FlexTensor>; 2] {
        let output: Tensor<Flex, D> = from_flex(output);
        let [first, second] = self.sizes;
        [(0, first), (first, second)]
            .map(|(start, size)| Some(to_flex(output.clone().narrow(self.axis, start, size))))
    }
}

pub(in crate::kernels) fn join<const D: usize>(
    tensors: [Tensor<Recorded, D>; 2],
    axis: usize,
) -> Tensor<Recorded, D> {
    let operands = tensors.map(operand);
    let values = operands.each_ref().map(value::<D>);
    let sizes = values.each_ref().map(|tensor| tensor.dims()[axis]);
    record(operands, flex::join(values, axis), || Join::<D> {
        axis,
        sizes,
    })
}

#[derive(Debug, Clone)]
struct Flatten<const D: usize>([usize; D]);

impl<const D: usize> Saved<1> for Flatten<D> {
    fn gradients(self, output: FlexTensor, _wanted: [bool; 1]) -> [Option<FlexTensor>; 1] {
        [Some(to_flex(from_flex::<2>(output).reshape(self.0)))]
    }
}

pub(in crate::kernels) fn flatten<const D: usize>(
    tensor: Tensor<Recorded, D>,
) -> Tensor<Recorded, 2> {
    let tensor = operand(tensor);
    let input = value::<D>(&tensor);
    let dims = input.dims();
    record([tensor], flex::flatten(input), || Flatten(dims))
}

#[derive(Debug, Clone)]
struct SplitHeads;

impl Saved<1> for SplitHeads {
    fn gradients(self, output: FlexTensor, _wanted: [bool; 1]) -> [Option<FlexTensor>; 1] {
        [Some(to_flex(flex::join_heads(from_flex(output))))]
    }
}

pub(in crate::kernels) fn split_heads(
    projected: Tensor<Recorded, 3>,
    head_dim: usize,
) -> Tensor<Recorded, 4> {
    let projected = operand(projected);
    let output = flex::split_heads(value(&projected), head_dim);
    record([projected], output, || SplitHeads)
}

#[derive(Debug, Clone)]
struct JoinHeads {
    head_dim: usize,
}

impl Saved<1> for JoinHeads {
    fn gradients(self, output: FlexTensor, _wanted: [bool; 1]) -> [Option<FlexTensor>; 1] {
        [Some(to_flex(flex::split_heads(
            from_flex(output),
            self.head_dim,
        )))]
    }
}

pub(in crate::kernels) fn join_heads(heads: Tensor<Recorded, 4>) -> Tensor<Recorded, 3> {
    let heads = operand(heads);
    let input = value::<4>(&heads);
    let [_, _, _, head_dim] = input.dims();
    record([heads], flex::join_heads(input), || JoinHeads { head_dim })
}
