//! AdamW with groups, learning rate schedule, gradient clipping, and moving average of parameters.
//!
//! `burn-optim` is not used: in Burn 0.21 its AdamW keeps moments in the parameter's dtype (in bf16
//! the second one never decays, because 0.999 rounds to 1), clips each parameter by its own norm,
//! and keys its state by ids that are new after each load.

mod adamw;
mod average;
mod norm;
mod schedule;

pub use adamw::AdamWConfig;
pub(super) use adamw::{AdamW, StartedStep};
pub(super) use average::MovingAverage;
pub(super) use norm::gradient_norm;
pub use schedule::{LearningRate, LearningRateSchedule};
