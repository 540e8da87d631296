use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{Sampler, SamplerStep};

/// LCM sampler for models distilled to few steps: goes to the predicted clean latents and back with
/// fresh noise (diffusers: `FlowMatchLCMScheduler`, and `FlowMatchEulerDiscreteScheduler` with
/// `stochastic_sampling`).
#[derive(Debug, Clone, Copy, Default)]
pub struct Lcm;

impl<B: Backend> Sampler<B> for Lcm {
    fn step(&mut self, step: &mut SamplerStep<'_, B>, latents: Tensor<B, 3>) -> Tensor<B, 3> {
        let clean = step.predicted_clean(&latents);
        let sigma_next = step.sigma_next();
        // Noise is drawn at the last step too, as diffusers does, so that the generator advances
        // alike.
        let noise = (step.noise)();
        clean * (1.0 - sigma_next) + noise * sigma_next
    }
}
