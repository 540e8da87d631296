use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

use super::AdafactorConfig;
use super::moments::{Moments, matrices};
use crate::kernels;

/// Numbers of one step, the same for all parameters.
#[derive(Debug, Clone, Copy)]
pub(super) struct AdafactorStep {
    pub(super) learning_rate: f64,
    pub(super) gradient_scale: f32,
    /// Number of the step, from 1.
    pub(super) number: u64,
}

impl AdafactorConfig {
    /// Updates one parameter of a shape, flat, and its squares.
    pub(super) fn update<B: Backend>(
        &self,
        shape: &[usize],
        parameter: Tensor<B, 1>,
        moments: Moments<B>,
        gradient: Tensor<B, 1>,
        step: &AdafactorStep,
    ) -> (Tensor<B, 1>, Moments<B>) {
        let gradient = gradient * step.gradient_scale;
        let kept = 1.0 - (step.number as f64).powf(self.decay_rate);
        let mean = |before: Tensor<B, 1>, new: Tensor<B, 1>| {
            before * kept as f32 + new * (1.0 - kept) as f32
        };
        let squares = gradient.clone() * gradient.clone() + self.square_eps as f32;
        let (update, moments) = match moments {
            Moments::Factored { rows, columns } => {
                let [count, height, width] = matrices(shape);
                let squares = squares.reshape([count, height, width]);
                let new_rows = squares.clone().mean_dim(2).reshape([count * height]);
                let new_columns = squares.mean_dim(1).reshape([count * width]);
                let (rows, columns) = (mean(rows, new_rows), mean(columns, new_columns));
                let of_rows = rows.clone().reshape([count, height, 1]);
                let of_rows = of_rows.clone() / of_rows.mean_dim(1);
                let of_columns = columns.clone().reshape([count, 1, width]);
                let scale = inverse_root(of_rows) * inverse_root(of_columns);
                let update = gradient.reshape([count, height, width]) * scale;
                let update = update.reshape([count * height * width]);
                (update, Moments::Factored { rows, columns })
            }
            Moments::Squares(before) => {
                let squares = mean(before, squares);
                let update = gradient * inverse_root(squares.clone());
                (update, Moments::Squares(squares))
            }
            Moments::Full { .. } | Moments::Quantized { .. } => {
                unreachable!("a state of another optimizer is refused when it is restored")
            }
        };
        let excess = root_mean_square(update.clone()) / self.clip_threshold as f32;
        let options = (&parameter.device(), DType::F32);
        let mut rate = Tensor::ones([1], options) * step.learning_rate as f32;
        if self.scale_parameter {
            let size = root_mean_square(parameter.clone());
            rate = rate * size.clamp_min(self.scale_eps as f32);
        }
        let update = update / excess.clamp_min(1.0) * rate.clone();
        let parameter = if shape.len() > 1 && self.weight_decay > 0.0 {
            let decay = rate * self.weight_decay as f32;
            parameter.clone() - parameter * decay
        } else {
            parameter
        };
        (parameter - update, moments)
    }
}

fn inverse_root<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Tensor<B, D> {
    tensor.sqrt().recip()
}

/// Computes the root of the mean square of all elements, `[1]`.
fn root_mean_square<B: Backend>(tensor: Tensor<B, 1>) -> Tensor<B, 1> {
    let [count] = tensor.dims();
    let sum = kernels::sum_of_squares(tensor);
    (sum / count.max(1) as f32).sqrt()
}
