//! Splitting of a tensor into parts whose gradients are joined once. Burn's `narrow` writes a
//! gradient of the whole tensor for every part, most of it zeros, and adds them up.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::Tensor;
use burn_flex::{Flex, FlexTensor};

use super::node::{Operand, Recorded, Saved, operand, record, value};
use crate::kernels::flex;
use crate::kernels::flex::views::{from_flex, to_flex};

/// Splits a tensor along an axis. The parts share its memory.
pub(in crate::kernels) fn split<const D: usize, const PARTS: usize>(
    tensor: Tensor<Recorded, D>,
    axis: usize,
    sizes: [usize; PARTS],
) -> [Tensor<Recorded, D>; PARTS] {
    let tensor = operand(tensor);
    let whole = value::<D>(&tensor);
    let parts = Arc::new(Mutex::new(vec![None; PARTS]));
    let joint = operand(record([tensor], whole.clone(), || Joint::<D> {
        axis,
        dims: whole.dims(),
        sizes: sizes.to_vec(),
        parts: Arc::clone(&parts),
        like: whole.clone(),
    }));
    let mut start = 0;
    std::array::from_fn(|index| {
        let range = start..start + sizes[index];
        start = range.end;
        part_of(&joint, &whole, [axis, index], range, &parts)
    })
}

fn part_of<const D: usize>(
    joint: &Operand,
    whole: &Tensor<Flex, D>,
    [axis, index]: [usize; 2],
    range: Range<usize>,
    parts: &Gradients,
) -> Tensor<Recorded, D> {
    let output = whole.clone().narrow(axis, range.start, range.len());
    record([joint.clone()], output, || Part {
        index,
        parts: Arc::clone(parts),
    })
}

/// Gradients of the parts, until all of them are known.
type Gradients = Arc<Mutex<Vec<Option<FlexTensor>>>>;

/// Puts the gradient of a part where [`Joint`] finds it.
#[derive(Debug, Clone)]
struct Part {
    index: usize,
    parts: Gradients,
}

impl Saved<1> for Part {
    fn gradients(self, output: FlexTensor, _wanted: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts[self.index] = Some(output);
        // Only says that there is a gradient.
        [Some(to_flex(Tensor::<Flex, 1>::zeros(
            [1],
            &Default::default(),
        )))]
    }
}

/// Joins the gradients of the parts, which Burn has already computed.
#[derive(Debug, Clone)]
struct Joint<const D: usize> {
    axis: usize,
    dims: [usize; D],
    sizes: Vec<usize>,
    parts: Gradients,
    like: Tensor<Flex, D>,
}

impl<const D: usize> Saved<1> for Joint<D> {
    fn gradients(self, _output: FlexTensor, _wanted: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let gradients = parts.iter_mut().zip(&self.sizes).map(|(part, size)| {
            part.take().map(from_flex).unwrap_or_else(|| {
                let mut dims = self.dims;
                dims[self.axis] = *size;
                Tensor::<Flex, D>::zeros(dims, (&self.like.device(), self.like.dtype()))
            })
        });
        let gradients = gradients.collect();
        [Some(to_flex(flex::join_all(gradients, self.axis)))]
    }
}
