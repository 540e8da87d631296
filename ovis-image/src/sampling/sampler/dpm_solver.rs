use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{Sampler, SamplerStep, half_log_snr};

/// DPM-Solver++ 2M (arXiv 2211.01095) for flow matching, in the midpoint form: each step also uses
/// the previous step's prediction (diffusers: `DPMSolverMultistepScheduler` with
/// `flow_prediction`). The last step, to 0, is of first order.
#[derive(Debug, Clone)]
pub struct DpmSolver2M<B: Backend> {
    /// Clean latents that the previous step's prediction implied.
    previous: Option<Tensor<B, 3>>,
}

impl<B: Backend> Default for DpmSolver2M<B> {
    fn default() -> Self {
        Self { previous: None }
    }
}

impl<B: Backend> Sampler<B> for DpmSolver2M<B> {
    fn step(&mut self, step: &mut SamplerStep<'_, B>, latents: Tensor<B, 3>) -> Tensor<B, 3> {
        let clean = step.predicted_clean(&latents);
        let (sigma, sigma_next) = (f64::from(step.sigma()), f64::from(step.sigma_next()));
        let lambda = half_log_snr(step.sigma());
        let width = half_log_snr(step.sigma_next()) - lambda;
        // At pure noise `width` is infinite, and the step goes to the prediction itself.
        let towards_clean = (1.0 - sigma_next) * -(-width).exp_m1();

        let next = latents * (sigma_next / sigma) + clean.clone() * towards_clean;
        let previous = self.previous.replace(clean.clone());
        match previous {
            Some(previous) if !step.is_last() => {
                let width_before = lambda - half_log_snr(step.sigmas[step.index - 1]);
                let slope = width / width_before;
                next + (clean - previous) * (0.5 * towards_clean * slope)
            }
            _ => next,
        }
    }
}
