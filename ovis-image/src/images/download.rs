//! Tensors to the host, and finding NaN and infinity without downloading what is fine.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

use crate::error::{OvisImageError, Phase, Result, RuntimeError};

/// Downloads a tensor as f32.
pub(crate) fn download<B: Backend, const D: usize>(
    tensor: Tensor<B, D>,
    phase: Phase,
) -> Result<Vec<f32>> {
    tensor
        .try_into_data()
        .map_err(|error| OvisImageError::backend(phase, error))?
        .convert::<f32>()
        .into_vec::<f32>()
        .map_err(|error| OvisImageError::backend(phase, error))
}

/// Refuses NaN and infinity, naming the phase. Waits for the tensor; only a sum of it is downloaded,
/// unless there is something to count.
///
/// The sum is finite only if all values are, on any device: GPUs may assume in comparisons, and in
/// `x * 0` and `x - x`, that there is no NaN, but not in additions of values that they do not know.
/// It may overflow where all values are finite, so that what looks wrong is looked at on the host.
pub(crate) fn check_finite<B: Backend, const D: usize>(
    tensor: &Tensor<B, D>,
    phase: Phase,
) -> Result<()> {
    let sum = tensor.clone().cast(DType::F32).sum();
    if download(sum, phase)?.iter().all(|sum| sum.is_finite()) {
        return Ok(());
    }
    let values = download(tensor.clone(), phase)?;
    match values.iter().filter(|value| !value.is_finite()).count() {
        0 => Ok(()),
        count => Err(RuntimeError::NonFinite { phase, count }.into()),
    }
}
