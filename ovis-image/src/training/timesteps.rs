//! Distributions of timesteps, and weights of timesteps in the loss.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::OvisImageError;
use crate::sampling::NoiseGenerator;

/// Distribution of the timesteps of training, from 0 (clean) to 1 (noise).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TimestepDistribution {
    /// Uniform over all timesteps.
    Uniform,
    /// `sigmoid(mean + std n)` for normal n (Stable Diffusion 3, arXiv 2403.03206).
    LogitNormal {
        /// Mean before the sigmoid; larger means more noise.
        mean: f32,
        /// Standard deviation before the sigmoid.
        std: f32,
    },
    /// `sigmoid(mu + n)`, where `mu` grows with the number of image tokens as the sampler's shift
    /// does: larger images need more noise to lose as much.
    #[default]
    ResolutionShifted,
}

impl TimestepDistribution {
    /// Draws `count` timesteps for images of `tokens` tokens.
    pub fn draw(self, count: usize, tokens: usize, generator: &mut NoiseGenerator) -> Vec<f32> {
        let normal = |generator: &mut NoiseGenerator| generator.randn(1)[0];
        (0..count)
            .map(|_| match self {
                Self::Uniform => generator.uniform(),
                Self::LogitNormal { mean, std } => sigmoid(mean + std * normal(generator)),
                Self::ResolutionShifted => sigmoid(shift_of(tokens) + normal(generator)),
            })
            // A timestep of exactly 0 or 1 has no noise or no image to tell apart.
            .map(|timestep| timestep.clamp(1e-5, 1.0 - 1e-5))
            .collect()
    }
}

/// Returns the shift of the released model: linear between 0.5 at 256 tokens and 1.15 at 4096
/// ([`SchedulerConfig`](crate::config::SchedulerConfig)).
fn shift_of(tokens: usize) -> f32 {
    let (base, longest) = (256.0, 4096.0);
    let slope = (1.15 - 0.5) / (longest - base);
    0.5 + slope * (tokens as f32 - base)
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

impl FromStr for TimestepDistribution {
    type Err = OvisImageError;

    /// Reads `uniform`, `logit-normal`, `logit-normal:MEAN:STD` or `resolution-shifted`.
    fn from_str(text: &str) -> Result<Self, OvisImageError> {
        let wrong = || {
            OvisImageError::argument(
                "timestep_distribution",
                format!("`{text}` is not uniform, logit-normal[:MEAN:STD] or resolution-shifted"),
            )
        };
        let number = |part: &str| part.parse::<f32>().ok().filter(|value| value.is_finite());
        match text.split(':').collect::<Vec<_>>()[..] {
            ["uniform"] => Ok(Self::Uniform),
            ["resolution-shifted"] => Ok(Self::ResolutionShifted),
            ["logit-normal"] => Ok(Self::LogitNormal {
                mean: 0.0,
                std: 1.0,
            }),
            ["logit-normal", mean, std] => {
                let (mean, std) = (
                    number(mean).ok_or_else(wrong)?,
                    number(std).ok_or_else(wrong)?,
                );
                let valid = (std > 0.0).then_some(Self::LogitNormal { mean, std });
                valid.ok_or_else(wrong)
            }
            _ => Err(wrong()),
        }
    }
}

/// Weighting of the loss by timestep (diffusers: `compute_loss_weighting_for_sd3`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LossWeighting {
    /// All timesteps have equal weight, as in the report.
    #[default]
    None,
    /// `t^-2`: weights the error of the image rather than that of the velocity.
    SigmaSqrt,
    /// `2 / (pi (1 - 2t + 2t^2))`.
    Cosmap,
}

impl LossWeighting {
    /// Computes the weight of a timestep.
    pub fn of(self, timestep: f32) -> f32 {
        match self {
            Self::None => 1.0,
            Self::SigmaSqrt => timestep.powi(-2),
            Self::Cosmap => {
                let bottom = 1.0 - 2.0 * timestep + 2.0 * timestep * timestep;
                2.0 / (std::f32::consts::PI * bottom)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(distribution: TimestepDistribution, tokens: usize) -> f32 {
        let drawn = distribution.draw(20_000, tokens, &mut NoiseGenerator::from_seed(1));
        assert!(drawn.iter().all(|t| (0.0..1.0).contains(t)));
        drawn.iter().sum::<f32>() / drawn.len() as f32
    }

    #[test]
    fn timesteps_have_the_mean_of_their_distribution() {
        // The standard error of 20,000 draws is below 0.0021.
        let normal = |mean| TimestepDistribution::LogitNormal { mean, std: 1.0 };
        assert!((mean(TimestepDistribution::Uniform, 1) - 0.5).abs() < 0.01);
        assert!((mean(normal(0.0), 1) - 0.5).abs() < 0.01);
        assert!(mean(normal(1.0), 1) > 0.65);
    }

    #[test]
    fn larger_images_get_more_noise() {
        let shifted = TimestepDistribution::ResolutionShifted;
        assert!((shift_of(256) - 0.5).abs() < 1e-6 && (shift_of(4096) - 1.15).abs() < 1e-6);
        assert!(mean(shifted, 4096) > mean(shifted, 256) + 0.05);
    }

    #[test]
    fn names_are_read_and_others_refused() {
        for (name, distribution) in [
            ("uniform", TimestepDistribution::Uniform),
            (
                "logit-normal:0.5:2",
                TimestepDistribution::LogitNormal {
                    mean: 0.5,
                    std: 2.0,
                },
            ),
            (
                "resolution-shifted",
                TimestepDistribution::ResolutionShifted,
            ),
        ] {
            assert_eq!(name.parse::<TimestepDistribution>().unwrap(), distribution);
        }
        for wrong in [
            "",
            "normal",
            "logit-normal:1",
            "logit-normal:0:0",
            "logit-normal:nan:1",
        ] {
            assert!(wrong.parse::<TimestepDistribution>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn weightings_are_those_of_diffusers() {
        assert_eq!(LossWeighting::None.of(0.3), 1.0);
        assert!((LossWeighting::SigmaSqrt.of(0.5) - 4.0).abs() < 1e-6);
        assert!((LossWeighting::Cosmap.of(0.5) - 1.273_239_5).abs() < 1e-6);
    }
}
