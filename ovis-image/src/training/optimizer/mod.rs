//! Optimizers with groups, learning rate schedule, gradient clipping, and moving average of
//! parameters.
//!
//! `burn-optim` is not used: in Burn 0.21 its AdamW keeps moments in the parameter's dtype (in bf16
//! the second one never decays, because 0.999 rounds to 1), clips each parameter by its own norm,
//! and keys its state by ids that are new after each load.

mod adafactor;
mod adafactor_step;
mod adamw;
mod average;
mod config;
mod limits;
mod moments;
mod norm;
mod schedule;
mod update;

pub use adafactor::AdafactorConfig;
pub use adamw::AdamWConfig;
pub(super) use average::MovingAverage;
pub use config::OptimizerConfig;
pub(super) use moments::{MomentValues, Moments};
pub(super) use norm::{gradient_norm, sum_of_squares};
pub use schedule::{LearningRate, LearningRateSchedule};
pub(super) use update::{Optimizer, StartedStep};
