use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::kernels;
use crate::training::ParameterMap;

/// Global norm of gradients, and the factor that reduces it to a limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ClippedNorm {
    /// Norm before clipping.
    pub(crate) norm: f64,
    /// Factor of all gradients: `limit / (norm + 1e-6)`, at most 1 (torch: `clip_grad_norm_`).
    pub(crate) scale: f32,
}

/// Computes the Euclidean norm of all gradients together; `limit` is the largest norm that an
/// update may use.
pub(crate) fn gradient_norm<B: Backend>(
    gradients: &ParameterMap<B>,
    limit: Option<f64>,
) -> ClippedNorm {
    let norm = sum_of_squares(gradients).sqrt();
    let scale = limit.map_or(1.0, |limit| (limit / (norm + 1e-6)).min(1.0));
    ClippedNorm {
        norm,
        scale: scale as f32,
    }
}

/// Sums the squares of all gradients.
pub(crate) fn sum_of_squares<B: Backend>(gradients: &ParameterMap<B>) -> f64 {
    let squares: Vec<Tensor<B, 1>> = gradients
        .iter()
        .map(|(_, gradient)| kernels::sum_of_squares(gradient.clone()))
        .collect();
    if squares.is_empty() {
        return 0.0;
    }
    // One transfer from the device for all of them.
    let squares = Tensor::cat(squares, 0).into_data();
    squares.iter::<f64>().sum()
}
