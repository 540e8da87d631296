//! LongText-Bench.

use std::path::Path;

use serde::Deserialize;

use super::{file_in, lines};
use crate::evaluate::error::EvaluateError;

/// Prompt of LongText-Bench.
#[derive(Debug, Deserialize)]
pub struct LongTextPrompt {
    /// Number that the image is named by.
    pub prompt_id: u64,
    /// Text of the prompt.
    pub prompt: String,
    /// Texts that the image should show.
    pub text: Vec<String>,
}

/// Reads the prompts of LongText-Bench: a file, or the file of this name in a folder.
///
/// # Errors
/// Returns [`EvaluateError`] if the file is not one of the benchmark.
pub fn longtext(path: &Path, name: &str) -> Result<Vec<LongTextPrompt>, EvaluateError> {
    let prompts = lines(&file_in(path, name), "LongText-Bench")?;
    Ok(prompts.into_iter().map(|(prompt, _)| prompt).collect())
}
