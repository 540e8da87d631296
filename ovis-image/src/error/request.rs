use super::{BoxError, OvisImageError};

/// Why a request, or another argument of the caller, is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// An argument is out of range.
    #[error("invalid {argument}: {reason}")]
    InvalidArgument {
        /// Name of the builder method that sets the value, for example `guidance_scale`, or of the
        /// parameter of the method that was called, for example `scale` of `load_lora`: always an
        /// identifier in snake case.
        argument: &'static str,
        /// What is wrong and what would be right.
        reason: String,
        /// The error of the library that refused the value, if another one did.
        source: Option<BoxError>,
    },

    /// The image size cannot be generated.
    #[error("cannot generate {width}x{height}: {reason}")]
    InvalidSize {
        /// Width asked for, in pixels.
        width: usize,
        /// Height asked for, in pixels.
        height: usize,
        /// The rule that it breaks.
        reason: String,
    },

    /// A tensor given by the caller has the wrong shape.
    #[error("`{argument}` has shape {actual:?}, expected {expected:?} ({meaning})")]
    ShapeMismatch {
        /// Name of the builder method or parameter, as in
        /// [`InvalidArgument`](Self::InvalidArgument).
        argument: &'static str,
        /// What the axes mean.
        meaning: &'static str,
        /// The shape needed.
        expected: Vec<usize>,
        /// The shape given.
        actual: Vec<usize>,
    },
}

impl OvisImageError {
    pub(crate) fn argument(argument: &'static str, reason: impl Into<String>) -> Self {
        Self::Request(RequestError::InvalidArgument {
            argument,
            reason: reason.into(),
            source: None,
        })
    }

    /// Like [`argument`](Self::argument), with a cause that `reason` does not repeat.
    pub(crate) fn argument_because(
        argument: &'static str,
        reason: impl Into<String>,
        source: impl Into<BoxError>,
    ) -> Self {
        Self::Request(RequestError::InvalidArgument {
            argument,
            reason: reason.into(),
            source: Some(source.into()),
        })
    }
}
