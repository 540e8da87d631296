//! Download of tensors to the host, and a check for NaN and infinity that downloads only a sum.

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

/// Fails if a tensor contains NaN or infinity. Waits for the tensor, and downloads only its sum
/// unless that is not finite.
///
/// The sum is finite only if all values are, on any device: GPUs may assume in comparisons, and in
/// `x * 0` and `x - x`, that there is no NaN, but not in additions of unknown values. The sum may
/// overflow even if all values are finite, so the values are then counted on the host.
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
