use serde::{Deserialize, Serialize};

use crate::error::{OvisImageError, Result};

const PART: &str = "scheduler";

/// Configuration of the scheduler, as in diffusers' `scheduler/scheduler_config.json`
/// (`FlowMatchEulerDiscreteScheduler`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default = "SchedulerConfig::diffusers_defaults")]
#[non_exhaustive]
pub struct SchedulerConfig {
    /// Factor from sigmas to timesteps: 1000.
    pub num_train_timesteps: usize,
    /// Fixed shift, not used with dynamic shifting.
    pub shift: f64,
    /// Whether the shift depends on the number of image tokens.
    pub use_dynamic_shifting: bool,
    /// Value of `mu` at `base_image_seq_len` tokens.
    pub base_shift: f64,
    /// Value of `mu` at `max_image_seq_len` tokens.
    pub max_shift: f64,
    /// Number of image tokens at which `mu` is `base_shift`.
    pub base_image_seq_len: usize,
    /// Number of image tokens at which `mu` is `max_shift`.
    pub max_image_seq_len: usize,
    /// Kind of shift. Only `exponential` is supported.
    pub time_shift_type: String,
    /// Not supported: must be absent.
    pub shift_terminal: Option<f64>,
    /// Not supported: must be false.
    pub invert_sigmas: bool,
    /// Not supported: must be false.
    pub stochastic_sampling: bool,
    /// Not supported: must be false.
    pub use_karras_sigmas: Option<bool>,
    /// Not supported: must be false.
    pub use_exponential_sigmas: Option<bool>,
    /// Not supported: must be false.
    pub use_beta_sigmas: Option<bool>,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self::ovis_image_7b()
    }
}

impl SchedulerConfig {
    /// Name of diffusers' class of this scheduler.
    pub const CLASS: &str = "FlowMatchEulerDiscreteScheduler";

    /// Returns the scheduler configuration of the 7B release.
    pub fn ovis_image_7b() -> Self {
        Self {
            num_train_timesteps: 1000,
            shift: 3.0,
            use_dynamic_shifting: true,
            base_shift: 0.5,
            max_shift: 1.15,
            base_image_seq_len: 256,
            max_image_seq_len: 4096,
            time_shift_type: "exponential".into(),
            shift_terminal: None,
            invert_sigmas: false,
            stochastic_sampling: false,
            use_karras_sigmas: None,
            use_exponential_sigmas: None,
            use_beta_sigmas: None,
        }
    }

    /// Returns the defaults of diffusers for keys that a file does not contain.
    fn diffusers_defaults() -> Self {
        Self {
            shift: 1.0,
            use_dynamic_shifting: false,
            ..Self::ovis_image_7b()
        }
    }

    /// Checks that the library supports this scheduler.
    ///
    /// # Errors
    /// Returns [`CheckpointError::InvalidConfig`](crate::error::CheckpointError::InvalidConfig),
    /// which names the option, if one is invalid or not supported.
    pub fn validate(&self) -> Result<()> {
        let fail = |reason: String| Err(OvisImageError::config(PART, reason));
        if self.num_train_timesteps == 0 {
            return fail("num_train_timesteps = 0".into());
        }
        if self.max_image_seq_len == self.base_image_seq_len {
            return fail("max_image_seq_len = base_image_seq_len: mu is undefined".into());
        }
        if !(self.shift.is_finite() && self.shift > 0.0) {
            return fail(format!("shift = {} is not a positive number", self.shift));
        }
        if !(self.base_shift.is_finite() && self.max_shift.is_finite()) {
            return fail("base_shift and max_shift must be finite".into());
        }
        if self.time_shift_type != "exponential" {
            return fail(format!(
                "time_shift_type = {:?} is not supported, only \"exponential\"",
                self.time_shift_type
            ));
        }
        let unsupported = [
            ("shift_terminal", self.shift_terminal.is_some()),
            ("invert_sigmas", self.invert_sigmas),
            ("stochastic_sampling", self.stochastic_sampling),
            ("use_karras_sigmas", self.use_karras_sigmas == Some(true)),
            (
                "use_exponential_sigmas",
                self.use_exponential_sigmas == Some(true),
            ),
            ("use_beta_sigmas", self.use_beta_sigmas == Some(true)),
        ];
        match unsupported.iter().find(|(_, set)| *set) {
            Some((name, _)) => fail(format!("{name} is set, which is not supported")),
            None => Ok(()),
        }
    }
}
