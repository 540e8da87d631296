use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{Sampler, SamplerStep};
use crate::sampling::FlowMatchEulerScheduler;

/// Heun's method, of second order: follows the mean of the velocities at both ends of the step, at
/// twice the cost (diffusers: `FlowMatchHeunDiscreteScheduler`). The last step, to 0, is Euler's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Heun;

impl<B: Backend> Sampler<B> for Heun {
    fn step(&mut self, step: &mut SamplerStep<'_, B>, latents: Tensor<B, 3>) -> Tensor<B, 3> {
        let (sigma, sigma_next) = (step.sigma(), step.sigma_next());
        let euler =
            |velocity| FlowMatchEulerScheduler::step(latents.clone(), velocity, sigma, sigma_next);
        let first = step.velocity.clone();
        let ahead = euler(first.clone());
        if sigma_next == 0.0 {
            return ahead;
        }
        let second = (step.model)(ahead, sigma_next);
        euler((first + second) * 0.5)
    }
}
