use super::{BoxError, OvisImageError, Phase};

/// Error of a generation or an export that started but did not finish.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// A phase produced NaN or infinity.
    #[error(
        "{phase} produced {count} NaN or infinite values: the weights may be damaged, or the dtype \
         too narrow (try bf16 or f32)"
    )]
    NonFinite {
        /// Phase whose result is not finite.
        phase: Phase,
        /// Number of values that are not finite.
        count: usize,
    },

    /// The progress callback canceled the generation.
    #[error("canceled after {completed_steps} of {total_steps} steps")]
    Canceled {
        /// Number of steps that were finished.
        completed_steps: usize,
        /// Number of steps that were to run.
        total_steps: usize,
    },

    /// The progress callback canceled an export, or the extraction of a LoRA.
    #[error("canceled after {written} of {total} bytes; no file is left")]
    ExportCanceled {
        /// Bytes of weights that were written or compared.
        written: u64,
        /// Bytes of weights that were to be written or compared.
        total: u64,
    },

    /// Too many steps of training in a row gave no usable gradients.
    #[error(
        "training diverged: {skipped} steps in a row up to step {step} had a loss or gradients that \
         are not finite, or far above the recent ones; resume from an earlier checkpoint with a \
         smaller learning rate"
    )]
    Diverged {
        /// Last step that was skipped.
        step: u64,
        /// Number of steps that were skipped in a row.
        skipped: u32,
    },

    /// The backend reported a failure.
    #[error("the backend failed during {phase}")]
    Backend {
        /// Phase in which the backend failed.
        phase: Phase,
        /// Error of the backend.
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
