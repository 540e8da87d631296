use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{Guidance, Passes, Predictions};
use crate::sampling::StepPosition;

/// Adaptive projected guidance (arXiv 2410.02416): weakens the component of the difference between
/// the two predictions along the prompt's prediction, because that component oversaturates at high
/// scales (diffusers: `AdaptiveProjectedGuidance`).
#[derive(Debug, Clone)]
pub struct AdaptiveProjected<B: Backend> {
    /// Guidance scale.
    pub scale: f32,
    /// Weight of the parallel component; 1 keeps all of it.
    pub eta: f32,
    /// Weight of the running sum of differences; negative values damp. `None` turns momentum off.
    pub momentum: Option<f32>,
    /// Largest Euclidean norm of an image's difference; larger ones are scaled down. 0 sets no
    /// limit.
    pub norm_threshold: f32,
    running: Option<Tensor<B, 3>>,
}

/// Keeps the directions of zero vectors finite, as torch's `normalize` does.
const EPSILON: f64 = 1e-12;

impl<B: Backend> AdaptiveProjected<B> {
    /// Creates guidance that remembers no step yet.
    pub fn new(scale: f32, eta: f32, momentum: Option<f32>, norm_threshold: f32) -> Self {
        Self {
            scale,
            eta,
            momentum,
            norm_threshold,
            running: None,
        }
    }
}

impl<B: Backend> Guidance<B> for AdaptiveProjected<B> {
    fn passes(&self, _step: StepPosition) -> Passes {
        Passes::BOTH
    }

    fn combine(&mut self, _step: StepPosition, predictions: Predictions<B>) -> Tensor<B, 3> {
        let conditional = predictions.conditional;
        let Some(unconditional) = predictions.unconditional else {
            return conditional;
        };
        let mut difference = conditional.clone() - unconditional.clone();
        if let Some(momentum) = self.momentum {
            if let Some(running) = self.running.take() {
                difference = difference + running * momentum;
            }
            self.running = Some(difference.clone());
        }
        if self.norm_threshold > 0.0 {
            let longest = norm(difference.clone()).recip() * self.norm_threshold;
            difference = difference * longest.clamp_max(1.0);
        }
        let direction = conditional.clone() / norm(conditional).clamp_min(EPSILON);
        let along = sum_over_image(difference.clone() * direction.clone());
        let parallel = direction * along;
        let update = difference - parallel * (1.0 - self.eta);
        unconditional + update * self.scale
    }
}

/// Sums over each image; the output is `[images, 1, 1]`.
fn sum_over_image<B: Backend>(tensor: Tensor<B, 3>) -> Tensor<B, 3> {
    tensor.sum_dim(2).sum_dim(1)
}

/// Computes each image's Euclidean norm; the output is `[images, 1, 1]`.
fn norm<B: Backend>(tensor: Tensor<B, 3>) -> Tensor<B, 3> {
    sum_over_image(tensor.clone() * tensor).sqrt()
}
