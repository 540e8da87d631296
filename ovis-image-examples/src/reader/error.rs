//! Errors of readers.

use std::io;
use std::path::PathBuf;

/// Error of a reader.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReaderError {
    /// The folder of models cannot be listed.
    #[error("cannot read the folder of models {}", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A model is missing.
    #[error(
        "{} has no {role} model: a file such as {example} is needed, from the Python package \
         rapidocr-onnxruntime",
        .folder.display()
    )]
    Missing {
        /// The folder.
        folder: PathBuf,
        /// Task of the model.
        role: &'static str,
        /// File name of such a model.
        example: &'static str,
    },
    /// The folder has several models for one purpose.
    #[error(
        "{} has several {role} models, {first} and {second}: leave one of them",
        .folder.display()
    )]
    Several {
        /// The folder.
        folder: PathBuf,
        /// Task of the models.
        role: &'static str,
        /// File name of one.
        first: String,
        /// File name of another one.
        second: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file is not a PP-OCR model.
    #[error("{} is not a {role} model of PP-OCR: {reason}", .path.display())]
    NotPpOcr {
        /// The file.
        path: PathBuf,
        /// Task that the model should have.
        role: &'static str,
        /// Description of the problem.
        reason: String,
    },
    /// A model failed on an image.
    #[error("{} failed: {reason}", .path.display())]
    Run {
        /// The file of the model.
        path: PathBuf,
        /// Description of the problem.
        reason: String,
    },
    /// A library that runs models cannot be loaded.
    #[error("{} is not a library of onnxruntime that can be used: {reason}", .path.display())]
    Runtime {
        /// The file.
        path: PathBuf,
        /// Description of the problem.
        reason: String,
    },
    /// A program cannot be started.
    #[error("cannot run the program {program}: is it installed?")]
    NotStarted {
        /// Name of the program.
        program: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// Tesseract has no data of a language.
    #[error("tesseract has no data of the language `{language}`; see `tesseract --list-langs`")]
    Language {
        /// The language as Tesseract names it.
        language: String,
    },
    /// A program failed on an image.
    #[error("{program} failed: {reason}")]
    Program {
        /// Name of the program.
        program: &'static str,
        /// Message of the program.
        reason: String,
    },
    /// The image is too narrow to be read.
    #[error(
        "an image of {width}x{height} pixels is too narrow: scaled to {longest} pixels, its short \
         side vanishes"
    )]
    Narrow {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// Length that the long side is scaled to.
        longest: u32,
    },
}
