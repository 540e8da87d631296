use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::SchedulerConfig;
use crate::error::{OvisImageError, Result};

/// Largest number of inference steps that a request may ask for; more are taken for a mistake.
pub const MAX_INFERENCE_STEPS: usize = 10_000;

/// Timestep shift: maps evenly spaced sigmas towards the noise. Programs differ in their default,
/// and the image differs with it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum Schedule {
    /// Uses the shift of the checkpoint's scheduler; for the released model,
    /// [`Dynamic`](Self::Dynamic).
    #[default]
    Checkpoint,
    /// Shifts by a `mu` that grows with the number of image tokens (diffusers and the authors).
    Dynamic,
    /// Shifts by a fixed factor: `shift s / (1 + (shift - 1) s)`. ComfyUI's template uses 3.0.
    FixedShift(f64),
    /// Shifts by one `mu` for all sizes: `e^mu / (e^mu + 1/s - 1)`. stable-diffusion.cpp uses 1.0.
    FixedMu(f64),
    /// Leaves the sigmas unchanged.
    Unshifted,
}

impl Schedule {
    /// Schedule of ComfyUI's template for this model.
    pub const COMFYUI: Self = Self::FixedShift(3.0);
    /// Schedule that stable-diffusion.cpp uses for this model.
    pub const STABLE_DIFFUSION_CPP: Self = Self::FixedMu(1.0);

    /// Shifts sigmas.
    ///
    /// # Errors
    /// Returns [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) if
    /// the shift is not a positive number or `mu` is not between -50 and 50.
    pub(super) fn apply(
        self,
        sigmas: &[f32],
        config: &SchedulerConfig,
        image_tokens: usize,
    ) -> Result<Vec<f32>> {
        let shift: Box<dyn Fn(f64) -> f64> = match self.resolve(config) {
            Self::Dynamic => exponential_shift(dynamic_mu(config, image_tokens)),
            Self::FixedMu(mu) => {
                if !mu.is_finite() || mu.abs() > 50.0 {
                    return Err(OvisImageError::argument(
                        "schedule",
                        format!("mu = {mu} is not between -50 and 50"),
                    ));
                }
                exponential_shift(mu)
            }
            Self::FixedShift(shift) => {
                if !(shift.is_finite() && shift > 0.0) {
                    return Err(OvisImageError::argument(
                        "schedule",
                        format!("shift = {shift} is not a positive number"),
                    ));
                }
                Box::new(move |s| shift * s / (1.0 + (shift - 1.0) * s))
            }
            Self::Unshifted | Self::Checkpoint => Box::new(|s| s),
        };
        Ok(sigmas
            .iter()
            .map(|sigma| shift(f64::from(*sigma)) as f32)
            .collect())
    }

    /// Replaces [`Checkpoint`](Self::Checkpoint) by the schedule that the configuration specifies.
    pub(crate) fn resolve(self, config: &SchedulerConfig) -> Self {
        match self {
            Self::Checkpoint if config.use_dynamic_shifting => Self::Dynamic,
            Self::Checkpoint => Self::FixedShift(config.shift),
            other => other,
        }
    }
}

/// Computes `mu`, which is linear in the number of image tokens (diffusers: `calculate_shift`).
fn dynamic_mu(config: &SchedulerConfig, image_tokens: usize) -> f64 {
    let span = config.max_image_seq_len as f64 - config.base_image_seq_len as f64;
    let slope = (config.max_shift - config.base_shift) / span;
    image_tokens as f64 * slope + config.base_shift - slope * config.base_image_seq_len as f64
}

fn exponential_shift(mu: f64) -> Box<dyn Fn(f64) -> f64> {
    let exp = mu.exp();
    Box::new(move |s| exp / (exp + 1.0 / s - 1.0))
}

/// Computes the evenly spaced sigmas that every schedule starts from: `linspace(1, 1/steps,
/// steps)`.
pub fn linear_sigmas(steps: usize) -> Vec<f32> {
    let last = 1.0 / steps as f64;
    (0..steps)
        .map(|i| match steps {
            1 => 1.0,
            _ => (1.0 + (last - 1.0) * i as f64 / (steps - 1) as f64) as f32,
        })
        .collect()
}

/// Checks that custom sigmas lie in (0, 1] and strictly fall.
pub(super) fn validate_sigmas(sigmas: &[f32]) -> Result<()> {
    let fail = |reason: String| Err(OvisImageError::argument("sigmas", reason));
    if sigmas.is_empty() || sigmas.len() > MAX_INFERENCE_STEPS {
        return fail(format!(
            "{} values were given; the number must be 1 to {MAX_INFERENCE_STEPS}",
            sigmas.len()
        ));
    }
    if let Some(bad) = sigmas
        .iter()
        .find(|s| !(s.is_finite() && **s > 0.0 && **s <= 1.0))
    {
        return fail(format!(
            "{bad} is not in (0, 1]; leave out the final 0, which is added automatically"
        ));
    }
    match sigmas.windows(2).find(|pair| pair[1] >= pair[0]) {
        Some(pair) => fail(format!(
            "{} is followed by {}; each value must be smaller than the one before",
            pair[0], pair[1]
        )),
        None => Ok(()),
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Checkpoint => f.write_str("checkpoint"),
            Self::Dynamic => f.write_str("dynamic"),
            Self::FixedShift(shift) => write!(f, "shift:{shift}"),
            Self::FixedMu(mu) => write!(f, "mu:{mu}"),
            Self::Unshifted => f.write_str("unshifted"),
        }
    }
}

impl FromStr for Schedule {
    type Err = OvisImageError;

    /// Parses `checkpoint`, `dynamic`, `unshifted`, `shift:3.0`, `mu:1.0`, `comfyui` or
    /// `stable-diffusion.cpp`.
    fn from_str(text: &str) -> Result<Self> {
        let number = |digits: &str| {
            digits
                .parse::<f64>()
                .ok()
                .filter(|value| value.is_finite())
                .ok_or_else(|| {
                    OvisImageError::argument(
                        "schedule",
                        format!("`{digits}` in `{text}` is not a number"),
                    )
                })
        };
        match text {
            "checkpoint" => Ok(Self::Checkpoint),
            "dynamic" => Ok(Self::Dynamic),
            "unshifted" => Ok(Self::Unshifted),
            "comfyui" => Ok(Self::COMFYUI),
            "stable-diffusion.cpp" | "sdcpp" => Ok(Self::STABLE_DIFFUSION_CPP),
            _ => match text.split_once(':') {
                Some(("shift", digits)) => Ok(Self::FixedShift(number(digits)?)),
                Some(("mu", digits)) => Ok(Self::FixedMu(number(digits)?)),
                _ => Err(OvisImageError::argument(
                    "schedule",
                    format!(
                        "`{text}` is not one of checkpoint, dynamic, unshifted, shift:N, mu:N, comfyui, \
                         stable-diffusion.cpp"
                    ),
                )),
            },
        }
    }
}

impl From<Schedule> for String {
    fn from(schedule: Schedule) -> Self {
        schedule.to_string()
    }
}

impl TryFrom<String> for Schedule {
    type Error = OvisImageError;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::RequestError;
    use proptest::prelude::*;

    fn schedules() -> impl Strategy<Value = Schedule> {
        prop_oneof![
            Just(Schedule::Checkpoint),
            Just(Schedule::Dynamic),
            Just(Schedule::Unshifted),
            (0.1f64..10.0).prop_map(Schedule::FixedShift),
            (-2.0f64..3.0).prop_map(Schedule::FixedMu),
        ]
    }

    proptest! {
        #[test]
        fn every_schedule_falls_from_one_to_above_zero(schedule in schedules(), steps in 1usize..200, tokens in 1usize..8192) {
            let config = SchedulerConfig::ovis_image_7b();
            let sigmas = schedule.apply(&linear_sigmas(steps), &config, tokens).unwrap();
            prop_assert!((sigmas[0] - 1.0).abs() < 1e-6);
            prop_assert!(validate_sigmas(&sigmas).is_ok());
        }

        #[test]
        fn a_schedule_reads_what_it_writes(schedule in schedules()) {
            prop_assert_eq!(schedule.to_string().parse::<Schedule>().unwrap(), schedule);
        }
    }

    #[test]
    fn mu_is_half_at_256_tokens_and_1_15_at_4096() {
        let config = SchedulerConfig::ovis_image_7b();
        assert!((dynamic_mu(&config, 256) - 0.5).abs() < 1e-12);
        assert!((dynamic_mu(&config, 4096) - 1.15).abs() < 1e-12);
        assert!((dynamic_mu(&config, 1024) - 0.63).abs() < 1e-12);
    }

    #[test]
    fn bad_sigmas_are_named() {
        for bad in [
            vec![],
            vec![0.5, 0.6],
            vec![1.0, 0.0],
            vec![f32::NAN],
            vec![1.5],
            vec![0.5, 0.5],
        ] {
            assert!(matches!(
                validate_sigmas(&bad),
                Err(OvisImageError::Request(RequestError::InvalidArgument {
                    argument: "sigmas",
                    ..
                }))
            ));
        }
    }

    #[test]
    fn unknown_schedules_are_refused() {
        for bad in ["", "karras", "shift:", "shift:x", "mu:NaN"] {
            assert!(bad.parse::<Schedule>().is_err(), "{bad}");
        }
        for bad in [
            Schedule::FixedShift(0.0),
            Schedule::FixedShift(f64::NAN),
            Schedule::FixedMu(f64::INFINITY),
        ] {
            assert!(
                bad.apply(&[1.0], &SchedulerConfig::ovis_image_7b(), 4)
                    .is_err()
            );
        }
    }
}
