//! Samplers: how a prediction moves the latents from one sigma to the next. One more is a file
//! here and a line in [`SamplerKind`].

mod ancestral;
mod dpm_solver;
mod euler;
mod heun;
mod kind;
mod lcm;
#[cfg(test)]
mod tests;
mod unipc;

pub use ancestral::EulerAncestral;
pub use dpm_solver::DpmSolver2M;
pub use euler::Euler;
pub use heun::Heun;
pub use kind::SamplerKind;
pub use lcm::Lcm;
pub use unipc::UniPc;

use std::fmt;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// Moves latents along `x_t = (1 - t) x_0 + t noise`, given a model of the velocity `noise - x_0`.
/// It may keep what it saw at earlier steps; one value serves one run.
pub trait Sampler<B: Backend>: fmt::Debug + Send {
    /// The latents at `step.sigma_next()` from those at `step.sigma()`.
    ///
    /// # Shapes
    /// - `latents`, all predictions and the output: `[images, tokens, channels]`, f32
    fn step(&mut self, step: &mut SamplerStep<'_, B>, latents: Tensor<B, 3>) -> Tensor<B, 3>;
}

/// One step, as a sampler sees it.
#[non_exhaustive]
pub struct SamplerStep<'a, B: Backend> {
    /// Which it is, from 0.
    pub index: usize,
    /// The sigmas of the whole run with the final 0.
    pub sigmas: &'a [f32],
    /// The model's prediction for the latents that the step begins with.
    pub velocity: Tensor<B, 3>,
    /// The model, for samplers that ask it more than once a step.
    pub model: &'a mut dyn FnMut(Tensor<B, 3>, f32) -> Tensor<B, 3>,
    /// Fresh noise of the latents' shape, for samplers that add some.
    pub noise: &'a mut dyn FnMut() -> Tensor<B, 3>,
}

impl<'a, B: Backend> SamplerStep<'a, B> {
    /// Step `index` of a run over `sigmas`, the final 0 included.
    pub fn new(
        index: usize,
        sigmas: &'a [f32],
        velocity: Tensor<B, 3>,
        model: &'a mut dyn FnMut(Tensor<B, 3>, f32) -> Tensor<B, 3>,
        noise: &'a mut dyn FnMut() -> Tensor<B, 3>,
    ) -> Self {
        Self {
            index,
            sigmas,
            velocity,
            model,
            noise,
        }
    }

    /// The sigma that the step begins at.
    ///
    /// # Panics
    /// If the index is not one of a step.
    pub fn sigma(&self) -> f32 {
        self.sigmas[self.index]
    }

    /// The sigma that it ends at.
    ///
    /// # Panics
    /// As [`sigma`](Self::sigma).
    pub fn sigma_next(&self) -> f32 {
        self.sigmas[self.index + 1]
    }

    /// Whether there is none after it.
    pub fn is_last(&self) -> bool {
        self.index + 2 == self.sigmas.len()
    }

    /// The clean latents that the prediction implies: `x - sigma * velocity`.
    pub fn predicted_clean(&self, latents: &Tensor<B, 3>) -> Tensor<B, 3> {
        latents.clone() - self.velocity.clone() * self.sigma()
    }
}

impl<B: Backend> fmt::Debug for SamplerStep<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SamplerStep")
            .field("index", &self.index)
            .field("sigmas", &self.sigmas)
            .finish_non_exhaustive()
    }
}

/// Half the logarithm of the signal-to-noise ratio, in which multistep solvers count: `log((1 - t) / t)`,
/// minus infinity at pure noise and infinity at 0.
fn half_log_snr(sigma: f32) -> f64 {
    let sigma = f64::from(sigma);
    (1.0 - sigma).ln() - sigma.ln()
}
