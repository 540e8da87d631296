use burn::tensor::TensorData;

use crate::error::{OvisImageError, RequestError, Result};

/// Checks the shape and values of a caller's tensor and converts it to f32 on the host. `meaning`
/// names its axes.
pub(crate) fn checked_data(
    argument: &'static str,
    meaning: &'static str,
    data: &TensorData,
    expected: &[usize],
) -> Result<TensorData> {
    if data.shape[..] != *expected {
        return Err(RequestError::ShapeMismatch {
            argument,
            meaning,
            expected: expected.to_vec(),
            actual: data.shape.to_vec(),
        }
        .into());
    }
    if !data.dtype.is_float() {
        return Err(OvisImageError::argument(
            argument,
            format!("its dtype {:?} is not a floating-point type", data.dtype),
        ));
    }
    let data = data.clone().convert::<f32>();
    let finite = data
        .as_slice::<f32>()
        .is_ok_and(|values| values.iter().all(|value| value.is_finite()));
    if !finite {
        return Err(OvisImageError::argument(
            argument,
            "the tensor contains NaN or infinity",
        ));
    }
    Ok(data)
}
