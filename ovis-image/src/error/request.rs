use super::{BoxError, OvisImageError};

/// Error of an invalid request or of another invalid argument.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// An argument has an invalid value.
    #[error("invalid {argument}: {reason}")]
    InvalidArgument {
        /// Identifier of the argument in snake case: the name of the builder method that sets the
        /// value, for example `guidance_scale`; of the field of a configuration, for example
        /// `max_grad_norm`; or of the parameter of the method that was called, for example `scale`
        /// of `load_lora`. A value inside of one has both names: `second_pass.scale`,
        /// `batch.grid`. A text that cannot be parsed is named after its meaning: `sampler`.
        argument: &'static str,
        /// Problem with the value, and which values are valid.
        reason: String,
        /// Error of another library that refused the value, if there is one.
        source: Option<BoxError>,
    },

    /// The image size cannot be generated.
    #[error("cannot generate {width}x{height}: {reason}")]
    InvalidSize {
        /// Requested width in pixels.
        width: usize,
        /// Requested height in pixels.
        height: usize,
        /// Rule that the size breaks.
        reason: String,
    },

    /// A tensor given by the caller has the wrong shape.
    #[error("`{argument}` has shape {actual:?}, expected {expected:?} ({meaning})")]
    ShapeMismatch {
        /// Name of the builder method or parameter, as in
        /// [`InvalidArgument`](Self::InvalidArgument).
        argument: &'static str,
        /// Meaning of the axes.
        meaning: &'static str,
        /// Shape needed.
        expected: Vec<usize>,
        /// Shape given.
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
