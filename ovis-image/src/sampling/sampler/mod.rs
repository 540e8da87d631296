//! Samplers, which use a prediction to move the latents from one sigma to the next. To add a
//! sampler, add a file here and a line in [`SamplerKind`].

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
/// A sampler may remember earlier steps; use each value for one run only.
pub trait Sampler<B: Backend>: fmt::Debug + Send {
    /// Computes the latents at `step.sigma_next()` from the latents at `step.sigma()`.
    ///
    /// # Shapes
    /// - `latents`, all predictions and the output: `[images, tokens, channels]`, f32
    fn step(&mut self, step: &mut SamplerStep<'_, B>, latents: Tensor<B, 3>) -> Tensor<B, 3>;
}

/// Inputs of one sampler step.
#[non_exhaustive]
pub struct SamplerStep<'a, B: Backend> {
    /// Index of the step, from 0.
    pub index: usize,
    /// Sigmas of the whole run, the final 0 included.
    pub sigmas: &'a [f32],
    /// Prediction of the model for the latents at the start of the step.
    pub velocity: Tensor<B, 3>,
    /// The model, for samplers that evaluate it more than once per step.
    pub model: &'a mut dyn FnMut(Tensor<B, 3>, f32) -> Tensor<B, 3>,
    /// Draws fresh noise in the latents' shape, for samplers that add noise.
    pub noise: &'a mut dyn FnMut() -> Tensor<B, 3>,
}

impl<'a, B: Backend> SamplerStep<'a, B> {
    /// Creates step `index` of a run over `sigmas`, the final 0 included.
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

    /// Returns the sigma at the start of the step.
    ///
    /// # Panics
    /// Panics if `index` is not the index of a step.
    pub fn sigma(&self) -> f32 {
        self.sigmas[self.index]
    }

    /// Returns the sigma at the end of the step.
    ///
    /// # Panics
    /// Panics like [`sigma`](Self::sigma).
    pub fn sigma_next(&self) -> f32 {
        self.sigmas[self.index + 1]
    }

    /// Returns true for the last step of the run.
    pub fn is_last(&self) -> bool {
        self.index + 2 == self.sigmas.len()
    }

    /// Computes the clean latents that the prediction implies: `x - sigma * velocity`.
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

/// Computes half the logarithm of the signal-to-noise ratio, the variable of multistep solvers:
/// `log((1 - t) / t)`, minus infinity at pure noise and infinity at 0.
fn half_log_snr(sigma: f32) -> f64 {
    let sigma = f64::from(sigma);
    (1.0 - sigma).ln() - sigma.ln()
}
