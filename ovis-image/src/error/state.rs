use std::path::PathBuf;

use super::BoxError;

/// Error of saving or resuming a run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file cannot be read or written.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// Attempted action, such as `read`.
        action: &'static str,
        /// File.
        path: PathBuf,
        /// Error of the system.
        source: std::io::Error,
    },
    /// The file does not contain the state of a run.
    #[error("`{}` is not the state of a run: {problem}", path.display())]
    Invalid {
        /// File.
        path: PathBuf,
        /// Description of the problem.
        problem: String,
        /// Error of the reader, if there is one.
        source: Option<BoxError>,
    },
    /// The state belongs to another model.
    #[error("the state is of another model: {problem}")]
    AnotherModel {
        /// First parameter that differs, with the difference.
        problem: String,
    },
    /// The state was saved by another optimizer.
    #[error(
        "the state was saved by another optimizer: its moments of `{path}` have another form. Resume with the optimizer that the run was started with"
    )]
    AnotherOptimizer {
        /// First parameter whose moments have another form.
        path: String,
    },
    /// The state was saved in a step of more batches.
    #[error("the state has {seen} batches of a step, but a step now has {accumulation}")]
    AnotherAccumulation {
        /// Batches already seen in the step.
        seen: u32,
        /// Batches of a step.
        accumulation: u32,
    },
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;
    use crate::error::OvisImageError;

    #[test]
    fn the_tree_adds_nothing_to_a_message_and_keeps_the_cause() {
        let error = OvisImageError::from(StateError::Io {
            action: "read",
            path: "run/step-1.safetensors".into(),
            source: std::io::ErrorKind::NotFound.into(),
        });
        assert_eq!(error.to_string(), "cannot read `run/step-1.safetensors`");
        assert!(
            error
                .source()
                .is_some_and(|cause| cause.is::<std::io::Error>())
        );
    }
}
