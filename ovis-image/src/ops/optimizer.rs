use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{DynamicMap, QuantizedMoment};

/// Numbers of one step of AdamW, the same for all parameters of a group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// Factor of the gradient, below 1 if it is clipped.
    pub gradient_scale: f32,
    /// Factor of the parameter before the update: `1 - learning_rate * weight_decay`.
    pub decay: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Term of the denominator.
    pub eps: f32,
    /// `learning_rate / (1 - beta1^step)`.
    pub step_size: f32,
    /// `sqrt(1 - beta2^step)`.
    pub second_correction: f32,
}

/// Parameter and moments of AdamW, all of one shape.
#[derive(Debug, Clone)]
pub struct AdamWTensors<B: Backend, const D: usize> {
    /// Parameter.
    pub parameter: Tensor<B, D>,
    /// Mean of the gradients.
    pub first_moment: Tensor<B, D>,
    /// Mean of the squared gradients.
    pub second_moment: Tensor<B, D>,
}

/// One step of AdamW (arXiv 1711.05101; torch: `AdamW`), in f32.
pub fn adamw<B: Backend, const D: usize>(
    tensors: AdamWTensors<B, D>,
    gradient: Tensor<B, D>,
    step: AdamWStep,
) -> AdamWTensors<B, D> {
    let gradient = gradient * step.gradient_scale;
    let first = tensors.first_moment;
    let first_moment = first.clone() + (gradient.clone() - first) * (1.0 - step.beta1);
    let squared = gradient.clone() * gradient;
    let second_moment = tensors.second_moment * step.beta2 + squared * (1.0 - step.beta2);
    let denominator = second_moment.clone().sqrt() / step.second_correction + step.eps;
    let update = first_moment.clone() / denominator * step.step_size;
    AdamWTensors {
        parameter: tensors.parameter * step.decay - update,
        first_moment,
        second_moment,
    }
}

/// Parameter in f32, and moments of AdamW in 8 bits.
#[derive(Debug, Clone)]
pub struct AdamW8bitTensors<B: Backend> {
    /// Parameter, `[length]`.
    pub parameter: Tensor<B, 1>,
    /// Mean of the gradients, by [`DynamicMap::Signed`].
    pub first_moment: QuantizedMoment<B>,
    /// Mean of the squared gradients, by [`DynamicMap::Unsigned`].
    pub second_moment: QuantizedMoment<B>,
}

/// One step of AdamW with moments in 8 bits (arXiv 2110.02861; bitsandbytes: `AdamW8bit`), in f32.
pub fn adamw_8bit<B: Backend>(
    tensors: AdamW8bitTensors<B>,
    gradient: Tensor<B, 1>,
    step: AdamWStep,
) -> AdamW8bitTensors<B> {
    let [length] = gradient.dims();
    let first_moment = tensors.first_moment.values(length, DynamicMap::Signed);
    let second_moment = tensors.second_moment.values(length, DynamicMap::Unsigned);
    let full = AdamWTensors {
        parameter: tensors.parameter,
        first_moment,
        second_moment,
    };
    let updated = adamw(full, gradient, step);
    AdamW8bitTensors {
        parameter: updated.parameter,
        first_moment: QuantizedMoment::new(updated.first_moment, DynamicMap::Signed),
        second_moment: QuantizedMoment::new(updated.second_moment, DynamicMap::Unsigned),
    }
}

/// Moves a tensor towards another: `from + (to - from) * weight`.
pub fn blend<B: Backend, const D: usize>(
    from: Tensor<B, D>,
    to: Tensor<B, D>,
    weight: f32,
) -> Tensor<B, D> {
    from.clone() + (to - from) * weight
}

/// Sums the squares of all elements, `[1]`.
pub fn sum_of_squares<B: Backend>(tensor: Tensor<B, 1>) -> Tensor<B, 1> {
    (tensor.clone() * tensor).sum()
}
