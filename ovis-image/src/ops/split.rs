use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Splits a tensor along an axis into parts of these sizes, which add up to the axis.
pub fn split<B: Backend, const D: usize, const PARTS: usize>(
    tensor: Tensor<B, D>,
    axis: usize,
    sizes: [usize; PARTS],
) -> [Tensor<B, D>; PARTS] {
    debug_assert_eq!(sizes.iter().sum::<usize>(), tensor.dims()[axis]);
    let mut start = 0;
    sizes.map(|size| {
        let part = tensor.clone().narrow(axis, start, size);
        start += size;
        part
    })
}
