use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::sigmas::{MAX_INFERENCE_STEPS, validate_sigmas};
use super::{Schedule, SigmaSpacing};
use crate::config::{SchedulerConfig, WeightDtype};
use crate::error::{OvisImageError, Result};
use crate::ops::round_to_dtype;

/// Flow-matching Euler scheduler along the straight path `x_t = (1 - t) x_0 + t noise` (diffusers:
/// `FlowMatchEulerDiscreteScheduler`). The model predicts the velocity `noise - x_0`.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowMatchEulerScheduler {
    config: SchedulerConfig,
}

impl FlowMatchEulerScheduler {
    /// Creates a scheduler from a checkpoint's configuration.
    ///
    /// # Errors
    /// Returns [`CheckpointError::InvalidConfig`](crate::error::CheckpointError::InvalidConfig) if
    /// the configuration has options that this scheduler does not implement.
    pub fn new(config: SchedulerConfig) -> Result<Self> {
        config.validate()?;
        Ok(Self { config })
    }

    /// Returns the configuration of the scheduler.
    pub fn config(&self) -> &SchedulerConfig {
        &self.config
    }

    /// Computes the sigmas for `steps` evenly spaced steps: `steps + 1` values from 1 down to the
    /// final 0.
    ///
    /// # Errors
    /// Returns [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) if
    /// there are no steps or too many, or if the schedule is invalid.
    pub fn sigmas(
        &self,
        schedule: Schedule,
        steps: usize,
        image_tokens: usize,
    ) -> Result<Vec<f32>> {
        self.spaced_sigmas(schedule, SigmaSpacing::Linear, steps, image_tokens)
    }

    /// Computes the sigmas for steps with the given spacing.
    ///
    /// # Errors
    /// Returns the errors of [`sigmas`](Self::sigmas), also if the spacing has fewer sigmas than
    /// steps.
    pub fn spaced_sigmas(
        &self,
        schedule: Schedule,
        spacing: SigmaSpacing,
        steps: usize,
        image_tokens: usize,
    ) -> Result<Vec<f32>> {
        let train_timesteps = self.config.num_train_timesteps;
        let most = match spacing {
            SigmaSpacing::Simple => train_timesteps.min(MAX_INFERENCE_STEPS),
            _ => MAX_INFERENCE_STEPS,
        };
        if steps == 0 || steps > most {
            return Err(OvisImageError::argument(
                "num_inference_steps",
                format!("{steps} is not between 1 and {most}"),
            ));
        }
        let unshifted = spacing.unshifted(steps, train_timesteps);
        let shifted = self.shifted(schedule, &unshifted, image_tokens)?;
        Ok(with_final_zero(spacing.between_ends(shifted)))
    }

    /// Shifts custom sigmas by the schedule, as diffusers does, and appends the final 0. Use
    /// [`Schedule::Unshifted`] to keep them unchanged.
    ///
    /// # Errors
    /// Returns [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) if
    /// the sigmas are not strictly falling within (0, 1].
    pub fn custom_sigmas(
        &self,
        schedule: Schedule,
        sigmas: &[f32],
        image_tokens: usize,
    ) -> Result<Vec<f32>> {
        validate_sigmas(sigmas)?;
        Ok(with_final_zero(self.shifted(
            schedule,
            sigmas,
            image_tokens,
        )?))
    }

    fn shifted(&self, schedule: Schedule, sigmas: &[f32], image_tokens: usize) -> Result<Vec<f32>> {
        let sigmas = schedule.apply(sigmas, &self.config, image_tokens)?;
        if let Some(bad) = sigmas
            .iter()
            .find(|sigma| !(**sigma > 0.0 && **sigma <= 1.0 + 1e-6))
        {
            return Err(OvisImageError::argument(
                "schedule",
                format!(
                    "{schedule} shifts a sigma to {bad}, outside of (0, 1]; use another schedule"
                ),
            ));
        }
        Ok(sigmas)
    }

    /// Computes the timestep, from 0 to 1, that a model of this dtype receives for a sigma. The
    /// references round `1000 sigma` to the dtype before they divide (diffusers:
    /// `t.to(latents.dtype)`, then `timestep / 1000`).
    pub fn model_timestep(&self, sigma: f32, dtype: WeightDtype) -> f32 {
        let dtype = dtype.to_burn();
        let train_timesteps = self.config.num_train_timesteps as f32;
        round_to_dtype(
            round_to_dtype(sigma * train_timesteps, dtype) / 1000.0,
            dtype,
        )
    }

    /// Takes an Euler step: `x + (sigma_next - sigma) * velocity`.
    ///
    /// # Shapes
    /// - `latents`, `velocity` and output: any, but equal
    pub fn step<B: Backend, const D: usize>(
        latents: Tensor<B, D>,
        velocity: Tensor<B, D>,
        sigma: f32,
        sigma_next: f32,
    ) -> Tensor<B, D> {
        latents + velocity * (sigma_next - sigma)
    }

    /// Mixes clean latents with noise: `(1 - sigma) x_0 + sigma noise`. The result is exact at both
    /// ends.
    ///
    /// # Shapes
    /// - `clean`, `noise` and output: any, but equal
    pub fn add_noise<B: Backend, const D: usize>(
        clean: Tensor<B, D>,
        noise: Tensor<B, D>,
        sigma: f32,
    ) -> Tensor<B, D> {
        clean * (1.0 - sigma) + noise * sigma
    }

    /// Computes the clean latents that a prediction implies: `x - sigma * velocity`.
    ///
    /// # Shapes
    /// - `latents`, `velocity` and output: any, but equal
    pub fn predicted_clean<B: Backend, const D: usize>(
        latents: Tensor<B, D>,
        velocity: Tensor<B, D>,
        sigma: f32,
    ) -> Tensor<B, D> {
        latents - velocity * sigma
    }
}

fn with_final_zero(mut sigmas: Vec<f32>) -> Vec<f32> {
    sigmas.push(0.0);
    sigmas
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::RequestError;

    #[test]
    fn steps_outside_the_range_are_refused() {
        let scheduler = FlowMatchEulerScheduler::new(SchedulerConfig::ovis_image_7b()).unwrap();
        for steps in [0, MAX_INFERENCE_STEPS + 1, usize::MAX] {
            assert!(matches!(
                scheduler.sigmas(Schedule::Dynamic, steps, 256),
                Err(OvisImageError::Request(RequestError::InvalidArgument {
                    argument: "num_inference_steps",
                    ..
                }))
            ));
        }
    }

    #[test]
    fn a_bf16_model_sees_rounded_timesteps() {
        let scheduler = FlowMatchEulerScheduler::new(SchedulerConfig::ovis_image_7b()).unwrap();
        assert_eq!(scheduler.model_timestep(1.0, WeightDtype::BF16), 1.0);
        // 987.6 rounds to 988 in bf16, where neighboring values are 4 apart.
        assert_eq!(
            scheduler.model_timestep(0.9876, WeightDtype::BF16),
            half::bf16::from_f32(0.988).to_f32()
        );
        assert!((scheduler.model_timestep(0.9876, WeightDtype::F32) - 0.9876).abs() < 1e-6);
    }
}
