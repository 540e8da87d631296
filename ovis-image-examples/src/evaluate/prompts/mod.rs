//! Prompt files of the benchmarks, as they are published.

mod cvtg;
mod dpg;
mod dpg_questions;
mod geneval;
mod longtext;
mod oneig;
mod oneig_texts;
mod signs;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::error::EvaluateError;
use crate::shared::input_file;

pub use cvtg::{CvtgPrompt, cvtg};
pub use dpg::dpg;
pub use dpg_questions::{dpg_questions, dpg_texts};
pub use geneval::{geneval, geneval_objects};
pub use longtext::{LongTextPrompt, longtext};
pub use oneig::{OneIgPrompt, oneig};
pub use oneig_texts::{OneIgText, oneig_texts};
pub use signs::signs;

/// Greatest length of a prompt file, in bytes.
const MOST_BYTES: u64 = 64 << 20;

/// Reads a prompt file.
fn read(path: &Path) -> Result<Vec<u8>, EvaluateError> {
    input_file::read(path, MOST_BYTES).map_err(|source| EvaluateError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Makes the error of a file that is not one of a benchmark.
fn of_another(path: &Path, benchmark: &'static str, reason: impl Into<String>) -> EvaluateError {
    EvaluateError::Prompts {
        path: path.to_owned(),
        benchmark,
        reason: reason.into(),
    }
}

/// Reads a file of JSON lines that is not empty, each with its text.
fn lines<T: DeserializeOwned>(
    path: &Path,
    benchmark: &'static str,
) -> Result<Vec<(T, String)>, EvaluateError> {
    let bytes = read(path)?;
    let mut prompts = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let prompt = serde_json::from_slice(line)
            .map_err(|error| of_another(path, benchmark, format!("line {}: {error}", index + 1)))?;
        // JSON that was read is UTF-8.
        prompts.push((prompt, String::from_utf8_lossy(line).trim().to_owned()));
    }
    if prompts.is_empty() {
        return Err(of_another(path, benchmark, "it is empty"));
    }
    Ok(prompts)
}

/// Returns the file itself, or the file of this name in a folder.
fn file_in(path: &Path, name: &str) -> PathBuf {
    if path.is_dir() {
        path.join(name)
    } else {
        path.to_owned()
    }
}
