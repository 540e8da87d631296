use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{Sampler, SamplerStep};
use crate::sampling::FlowMatchEulerScheduler;

/// Euler's method: follows the predicted velocity (diffusers: `FlowMatchEulerDiscreteScheduler`).
#[derive(Debug, Clone, Copy, Default)]
pub struct Euler;

impl<B: Backend> Sampler<B> for Euler {
    fn step(&mut self, step: &mut SamplerStep<'_, B>, latents: Tensor<B, 3>) -> Tensor<B, 3> {
        let velocity = step.velocity.clone();
        FlowMatchEulerScheduler::step(latents, velocity, step.sigma(), step.sigma_next())
    }
}
