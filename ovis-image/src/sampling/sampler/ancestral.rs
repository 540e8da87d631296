use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{Sampler, SamplerStep};

/// Ancestral Euler sampler for straight paths: each step goes below the next sigma and returns to
/// it with fresh noise (ComfyUI: `euler_ancestral` of flow models). An `eta` of 0 is Euler, 1 adds
/// the most noise.
#[derive(Debug, Clone, Copy)]
pub struct EulerAncestral {
    eta: f64,
}

impl EulerAncestral {
    /// Creates a sampler that renews the fraction `eta` of the noise, from 0 to 1.
    pub fn new(eta: f32) -> Self {
        Self {
            eta: f64::from(eta),
        }
    }
}

/// Weights of one step: `x_next = signal * (latents * keep + clean * (1 - keep)) + noise *
/// renewed`.
struct Weights {
    keep: f64,
    signal: f64,
    renewed: f64,
}

impl Weights {
    fn new(eta: f64, sigma: f64, sigma_next: f64) -> Self {
        let down = sigma_next * (1.0 + (sigma_next / sigma - 1.0) * eta);
        let signal = (1.0 - sigma_next) / (1.0 - down);
        // The variance that is missing at sigma_next; rounding can make it negative.
        let renewed = (sigma_next.powi(2) - (down * signal).powi(2)).max(0.0);
        Self {
            keep: down / sigma,
            signal,
            renewed: renewed.sqrt(),
        }
    }
}

impl<B: Backend> Sampler<B> for EulerAncestral {
    fn step(&mut self, step: &mut SamplerStep<'_, B>, latents: Tensor<B, 3>) -> Tensor<B, 3> {
        let clean = step.predicted_clean(&latents);
        if step.sigma_next() == 0.0 {
            return clean;
        }
        let (sigma, sigma_next) = (f64::from(step.sigma()), f64::from(step.sigma_next()));
        let Weights {
            keep,
            signal,
            renewed,
        } = Weights::new(self.eta, sigma, sigma_next);
        let down = latents * keep + clean * (1.0 - keep);
        if self.eta == 0.0 {
            return down;
        }
        down * signal + (step.noise)() * renewed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Checks that a step keeps latents on the path `(1 - sigma) x_0 + sigma noise`.
        #[test]
        fn a_step_leaves_signal_and_variance_of_the_next_sigma(eta in 0.0f64..=1.0, sigma in 0.05f64..=1.0, part in 0.01f64..0.99) {
            let sigma_next = sigma * part;
            let weights = Weights::new(eta, sigma, sigma_next);
            let signal = weights.signal * (weights.keep * (1.0 - sigma) + 1.0 - weights.keep);
            let variance = (weights.signal * weights.keep * sigma).powi(2) + weights.renewed.powi(2);
            prop_assert!((signal - (1.0 - sigma_next)).abs() < 1e-12);
            prop_assert!((variance.sqrt() - sigma_next).abs() < 1e-9);
        }
    }
}
