use std::path::PathBuf;

use super::{BoxError, OvisImageError, WeightsReport};

/// Error of reading or writing a checkpoint or another file of weights.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A file or folder that the checkpoint needs does not exist.
    #[error("{} not found: {hint}", path.display())]
    NotFound {
        /// Path that does not exist.
        path: PathBuf,
        /// Hint at what was expected there, and what to do.
        hint: String,
    },

    /// Reading or writing a file failed.
    #[error("cannot access {}", path.display())]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },

    /// A file whose weights are still in use has changed since it was opened.
    #[error("{} has changed since it was opened: {reason}; load it again", path.display())]
    FileChanged {
        /// Path of the file.
        path: PathBuf,
        /// Difference found.
        reason: String,
    },

    /// A file is damaged or is not in the expected format.
    #[error("{} is not a usable {format} file: {reason}", path.display())]
    InvalidFile {
        /// Path of the file.
        path: PathBuf,
        /// Expected format, for example `safetensors`.
        format: &'static str,
        /// Problem with the file.
        reason: String,
        /// Error of the parser, if a parser found the problem.
        source: Option<BoxError>,
    },

    /// A tensor has an element type that cannot be read as a weight.
    #[error(
        "tensor `{tensor}` in {} has dtype {dtype}: weights can be read from F32, F16 and BF16, and in \
         GGUF files from Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K and Q6_K", path.display()
    )]
    UnknownDtype {
        /// Path of the file.
        path: PathBuf,
        /// Name of the tensor in the file.
        tensor: String,
        /// Element type that the header gives.
        dtype: String,
    },

    /// The tensors of a file do not match the model. The report lists every mismatch.
    #[error("{0}")]
    Weights(Box<WeightsReport>),

    /// A folder follows none of the known checkpoint layouts.
    #[error(
        "{} does not contain a checkpoint in a known layout: expected {expected}; or name each part \
         by its own path", path.display()
    )]
    UnknownLayout {
        /// Path of the folder.
        path: PathBuf,
        /// Known layouts and the files of each.
        expected: String,
    },

    /// The tensor names of a part follow none of the known naming schemes.
    #[error("{} does not contain {part} weights: {reason}", path.display())]
    UnknownNaming {
        /// Path of the file.
        path: PathBuf,
        /// Part of the model that was expected.
        part: &'static str,
        /// Key that identifies the naming scheme, and what was found.
        reason: String,
    },

    /// A configuration is inconsistent or needs something that this model does not support.
    #[error("invalid configuration of the {part}: {reason}")]
    InvalidConfig {
        /// Part of the model.
        part: &'static str,
        /// Relation that does not hold.
        reason: String,
        /// Error of the serializer, if a configuration could not be written.
        source: Option<BoxError>,
    },

    /// A configuration belongs to another class of diffusers than the one that is supported.
    #[error(
        "{} describes a `{class}`, which is not supported: only `{supported}` is", path.display()
    )]
    UnsupportedClass {
        /// Path of the configuration.
        path: PathBuf,
        /// Class that the configuration names.
        class: String,
        /// Class that is supported.
        supported: &'static str,
    },

    /// The tokenizer file cannot be parsed.
    #[error("cannot use the tokenizer {}", path.display())]
    Tokenizer {
        /// Path of the tokenizer's file.
        path: PathBuf,
        /// Error of the parser.
        source: BoxError,
    },

    /// The tokenizer lacks a token that the prompt template needs.
    #[error(
        "the tokenizer {} does not have the special token `{token}`: use the tokenizer that belongs to \
         the checkpoint (Qwen3's)", path.display()
    )]
    MissingSpecialToken {
        /// Path of the tokenizer's file.
        path: PathBuf,
        /// Missing token.
        token: &'static str,
    },
}

impl OvisImageError {
    pub(crate) fn not_found(path: impl Into<PathBuf>, hint: impl Into<String>) -> Self {
        Self::Checkpoint(CheckpointError::NotFound {
            path: path.into(),
            hint: hint.into(),
        })
    }

    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Checkpoint(CheckpointError::Io {
            path: path.into(),
            source,
        })
    }

    pub(crate) fn invalid_file(
        path: impl Into<PathBuf>,
        format: &'static str,
        reason: impl Into<String>,
    ) -> Self {
        Self::Checkpoint(CheckpointError::InvalidFile {
            path: path.into(),
            format,
            reason: reason.into(),
            source: None,
        })
    }

    /// Like [`invalid_file`](Self::invalid_file), with a cause that `reason` does not repeat.
    pub(crate) fn invalid_file_because(
        path: impl Into<PathBuf>,
        format: &'static str,
        reason: impl Into<String>,
        source: impl Into<BoxError>,
    ) -> Self {
        Self::Checkpoint(CheckpointError::InvalidFile {
            path: path.into(),
            format,
            reason: reason.into(),
            source: Some(source.into()),
        })
    }

    pub(crate) fn unknown_dtype(
        path: impl Into<PathBuf>,
        tensor: impl Into<String>,
        dtype: impl Into<String>,
    ) -> Self {
        Self::Checkpoint(CheckpointError::UnknownDtype {
            path: path.into(),
            tensor: tensor.into(),
            dtype: dtype.into(),
        })
    }

    pub(crate) fn config(part: &'static str, reason: impl Into<String>) -> Self {
        Self::Checkpoint(CheckpointError::InvalidConfig {
            part,
            reason: reason.into(),
            source: None,
        })
    }

    /// Like [`config`](Self::config), with a cause that `reason` does not repeat.
    pub(crate) fn config_because(
        part: &'static str,
        reason: impl Into<String>,
        source: impl Into<BoxError>,
    ) -> Self {
        Self::Checkpoint(CheckpointError::InvalidConfig {
            part,
            reason: reason.into(),
            source: Some(source.into()),
        })
    }

    pub(crate) fn tokenizer(path: impl Into<PathBuf>, source: impl Into<BoxError>) -> Self {
        Self::Checkpoint(CheckpointError::Tokenizer {
            path: path.into(),
            source: source.into(),
        })
    }
}
