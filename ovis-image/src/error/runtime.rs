use super::{BoxError, OvisImageError, Phase};

/// Why a generation that had started did not finish.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// A phase produced NaN or infinity.
    #[error(
        "{phase} produced {count} NaN or infinite values: the weights may be damaged, or the dtype \
         too narrow (try bf16 or f32)"
    )]
    NonFinite {
        /// The phase whose result is at fault.
        phase: Phase,
        /// Number of values that are not finite.
        count: usize,
    },

    /// The progress callback asked to stop.
    #[error("canceled after {completed_steps} of {total_steps} steps")]
    Canceled {
        /// Steps that were finished.
        completed_steps: usize,
        /// Steps that were asked for.
        total_steps: usize,
    },

    /// The backend reported a failure.
    #[error("the backend failed during {phase}")]
    Backend {
        /// What was being done.
        phase: Phase,
        /// The backend's error.
        source: BoxError,
    },
}

impl OvisImageError {
    pub(crate) fn backend(phase: Phase, source: impl Into<BoxError>) -> Self {
        Self::Runtime(RuntimeError::Backend {
            phase,
            source: source.into(),
        })
    }
}
