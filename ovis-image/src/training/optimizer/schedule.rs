use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// Schedule of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LearningRateSchedule {
    /// Stays constant.
    #[default]
    Constant,
    /// Falls to zero at the last step along half a cosine.
    Cosine,
    /// Falls to zero linearly, at the last step.
    Linear,
}

/// Learning rate of every step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearningRate {
    /// Learning rate after the warm-up.
    pub peak: f64,
    /// Number of steps in which the rate rises to the peak: step k has `k / warmup_steps` of it.
    pub warmup_steps: u64,
    /// Schedule after the warm-up.
    pub schedule: LearningRateSchedule,
}

impl LearningRate {
    /// Creates a constant learning rate without a warm-up.
    pub fn constant(peak: f64) -> Self {
        Self {
            peak,
            warmup_steps: 0,
            schedule: LearningRateSchedule::Constant,
        }
    }

    /// Computes the learning rate of a step, counted from 0, of a run of `total_steps`.
    pub fn at(&self, step: u64, total_steps: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let length = total_steps.saturating_sub(self.warmup_steps).max(1);
        let done = ((step - self.warmup_steps) as f64 / length as f64).min(1.0);
        self.peak
            * match self.schedule {
                LearningRateSchedule::Constant => 1.0,
                LearningRateSchedule::Cosine => 0.5 * (1.0 + (PI * done).cos()),
                LearningRateSchedule::Linear => 1.0 - done,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warm_up_rises_and_a_schedule_falls() {
        for schedule in [
            LearningRateSchedule::Constant,
            LearningRateSchedule::Cosine,
            LearningRateSchedule::Linear,
        ] {
            let rate = LearningRate {
                peak: 2.0,
                warmup_steps: 4,
                schedule,
            };
            let at = |step| rate.at(step, 104);
            assert_eq!([at(0), at(1), at(3), at(4)], [0.5, 1.0, 2.0, 2.0]);
            let (middle, last) = match schedule {
                LearningRateSchedule::Constant => (2.0, 2.0),
                _ => (1.0, 0.0),
            };
            assert!((at(54) - middle).abs() < 1e-12 && (at(104) - last).abs() < 1e-12);
            assert_eq!(at(1000), at(104));
        }
    }
}
