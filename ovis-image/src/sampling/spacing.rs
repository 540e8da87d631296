use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{OvisImageError, Result};

/// Spacing of the steps between noise and image. [`Schedule`](super::Schedule) shifts the evenly
/// spaced sigmas. The other spacings are laid out between the first and the last sigma that it
/// gives, as in diffusers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SigmaSpacing {
    /// Evenly spaced, as the model is normally used.
    #[default]
    Linear,
    /// Evenly spaced in the seventh root (arXiv 2206.00364): most steps are near the image.
    Karras,
    /// Evenly spaced in the logarithm.
    Exponential,
    /// Quantiles of the distribution Beta(0.6, 0.6) (arXiv 2407.12173): most steps are at both
    /// ends.
    Beta,
    /// Every n-th of the 1000 training timesteps, counted as ComfyUI does.
    Simple,
}

/// Exponent of Karras' schedule.
const RHO: f64 = 7.0;
/// Both parameters of the beta distribution; must be between 0 and 1.
const BETA: f64 = 0.6;

impl SigmaSpacing {
    /// Values that [`FromStr`] accepts.
    pub const NAMES: &str = "linear, karras, exponential, beta, simple";

    /// Returns true if the sigmas between the first and the last are replaced after the shift.
    fn is_applied_after_shift(self) -> bool {
        !matches!(self, Self::Linear | Self::Simple)
    }

    /// Computes the sigmas before the shift: falling from 1, without the final 0.
    pub(super) fn unshifted(self, steps: usize, train_timesteps: usize) -> Vec<f32> {
        match self {
            Self::Simple => {
                let stride = train_timesteps as f64 / steps as f64;
                (0..steps)
                    .map(|step| {
                        let timestep = train_timesteps - (step as f64 * stride) as usize;
                        (timestep as f64 / train_timesteps as f64) as f32
                    })
                    .collect()
            }
            _ => super::linear_sigmas(steps),
        }
    }

    /// Replaces the sigmas between the first and the last shifted one, where the spacing asks for
    /// it.
    pub(super) fn between_ends(self, shifted: Vec<f32>) -> Vec<f32> {
        let (Some(first), Some(last)) = (shifted.first(), shifted.last()) else {
            return shifted;
        };
        if !self.is_applied_after_shift() || shifted.len() == 1 {
            return shifted;
        }
        let (max, min) = (f64::from(*first), f64::from(*last));
        let at = |part: f64| match self {
            Self::Karras => {
                let (max, min) = (max.powf(1.0 / RHO), min.powf(1.0 / RHO));
                (max + part * (min - max)).powf(RHO)
            }
            Self::Exponential => (max.ln() + part * (min.ln() - max.ln())).exp(),
            Self::Beta => min + beta_quantile(1.0 - part) * (max - min),
            Self::Linear | Self::Simple => max + part * (min - max),
        };
        let count = shifted.len();
        (0..count)
            .map(|index| match index {
                0 => *first,
                _ if index + 1 == count => *last,
                _ => at(index as f64 / (count - 1) as f64) as f32,
            })
            .collect()
    }
}

/// Computes the quantile of Beta(`BETA`, `BETA`) at a probability.
fn beta_quantile(probability: f64) -> f64 {
    if probability > 0.5 {
        return 1.0 - beta_quantile(1.0 - probability);
    }
    // Half of the integral lies left of 1/2, so the beta function is not needed.
    let target = 2.0 * probability * incomplete_beta(0.5);
    // Newton's method in y = x^BETA. The integral is a convex function of y that lies above y /
    // BETA: started there, the iteration falls to the solution and does not overshoot.
    let mut y = BETA * target;
    for _ in 0..8 {
        let x = y.powf(1.0 / BETA);
        let slope = (1.0 - x).powf(BETA - 1.0) / BETA;
        y -= (incomplete_beta(x) - target) / slope;
    }
    y.max(0.0).powf(1.0 / BETA)
}

/// Integrates `t^(BETA - 1) (1 - t)^(BETA - 1)` from 0 to `x`, at most about 1/2 (DLMF 8.17.7).
fn incomplete_beta(x: f64) -> f64 {
    // The power of x at least halves from one term of the binomial series to the next, so these
    // terms reach the precision of f64.
    const TERMS: i32 = 60;
    let mut coefficient = 1.0;
    let sum: f64 = (0..TERMS)
        .map(|n| {
            let term = coefficient / (BETA + f64::from(n));
            coefficient *= x * (f64::from(n) + 1.0 - BETA) / (f64::from(n) + 1.0);
            term
        })
        .sum();
    x.powf(BETA) * sum
}

impl fmt::Display for SigmaSpacing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Linear => "linear",
            Self::Karras => "karras",
            Self::Exponential => "exponential",
            Self::Beta => "beta",
            Self::Simple => "simple",
        })
    }
}

impl FromStr for SigmaSpacing {
    type Err = OvisImageError;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "linear" => Self::Linear,
            "karras" => Self::Karras,
            "exponential" => Self::Exponential,
            "beta" => Self::Beta,
            "simple" => Self::Simple,
            _ => {
                return Err(OvisImageError::argument(
                    "sigma_spacing",
                    format!("`{text}` is not one of {}", Self::NAMES),
                ));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SchedulerConfig;
    use crate::sampling::{FlowMatchEulerScheduler, Schedule};
    use proptest::prelude::*;

    const ALL: [SigmaSpacing; 5] = [
        SigmaSpacing::Linear,
        SigmaSpacing::Karras,
        SigmaSpacing::Exponential,
        SigmaSpacing::Beta,
        SigmaSpacing::Simple,
    ];

    proptest! {
        #[test]
        fn every_spacing_falls_from_one_to_zero(index in 0usize..5, steps in 1usize..1000, tokens in 1usize..8192) {
            let scheduler = FlowMatchEulerScheduler::new(SchedulerConfig::ovis_image_7b()).unwrap();
            let sigmas = scheduler.spaced_sigmas(Schedule::Dynamic, ALL[index], steps, tokens).unwrap();
            prop_assert_eq!(sigmas.len(), steps + 1);
            prop_assert!((sigmas[0] - 1.0).abs() < 1e-6);
            prop_assert_eq!(sigmas[steps], 0.0);
            prop_assert!(sigmas.windows(2).all(|pair| pair[1] < pair[0]));
        }
    }

    #[test]
    fn quantiles_of_the_beta_distribution_are_those_of_mpmath() {
        // Reference: mpmath's regularized incomplete beta function with 40 digits, solved by
        // bisection.
        for (probability, expected) in [
            (0.0001, 3.998377158137724e-07),
            (0.01, 0.0008612388215429069),
            (0.1, 0.039584405588780854),
            (0.25, 0.175680378652695),
            (0.4999, 0.49986127490549964),
            (0.5, 0.5),
            (0.75, 0.824319621347305),
            (0.999, 0.9999814412614826),
        ] {
            let error = (beta_quantile(probability) - expected).abs();
            assert!(error < 1e-14, "{probability}: {error:.1e}");
        }
    }

    #[test]
    fn a_spacing_reads_what_it_writes() {
        for spacing in ALL {
            assert_eq!(
                spacing.to_string().parse::<SigmaSpacing>().unwrap(),
                spacing
            );
        }
        assert!("cosine".parse::<SigmaSpacing>().is_err());
    }
}
