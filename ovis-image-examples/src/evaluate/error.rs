//! Errors of a benchmark's files.

use std::io;
use std::path::PathBuf;

/// Error in a file of prompts, readings, judgments or results.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// The file cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A line about an image is invalid.
    #[error("line {line} of {}: {reason}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
        /// Reason why the line is invalid.
        reason: String,
    },
    /// A result file of an official scorer is absent or invalid.
    #[error("cannot use the results in {}: {reason}", .path.display())]
    Results {
        /// The file or folder.
        path: PathBuf,
        /// Description of the missing or invalid part.
        reason: String,
    },
    /// The prompts are not those of the benchmark.
    #[error("{} has no prompts of {benchmark}: {reason}", .path.display())]
    Prompts {
        /// The file or folder.
        path: PathBuf,
        /// Name of the benchmark.
        benchmark: &'static str,
        /// Description of the missing or invalid part.
        reason: String,
    },
}
