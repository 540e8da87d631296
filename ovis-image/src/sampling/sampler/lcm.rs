use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{Sampler, SamplerStep};

/// To the predicted clean latents and back with fresh noise (diffusers: `FlowMatchLCMScheduler`, and
/// `FlowMatchEulerDiscreteScheduler` with `stochastic_sampling`): for models distilled to few steps.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lcm;

impl<B: Backend> Sampler<B> for Lcm {
    fn step(&mut self, step: &mut SamplerStep<'_, B>, latents: Tensor<B, 3>) -> Tensor<B, 3> {
        let clean = step.predicted_clean(&latents);
        let sigma_next = step.sigma_next();
        // Drawn at the last step too, as diffusers does: its generator goes on alike.
        let noise = (step.noise)();
        clean * (1.0 - sigma_next) + noise * sigma_next
    }
}
