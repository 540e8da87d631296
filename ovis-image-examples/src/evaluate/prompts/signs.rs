//! Signs.

use std::path::Path;

use super::{file_in, lines};
use crate::evaluate::error::EvaluateError;
use crate::evaluate::signs::SignPrompt;

/// Reads the prompts of signs from `signs.jsonl`, or from the folder with this file.
///
/// # Errors
/// Returns [`EvaluateError`] if the file is not one of the benchmark.
pub fn signs(path: &Path) -> Result<Vec<SignPrompt>, EvaluateError> {
    let prompts = lines(&file_in(path, "signs.jsonl"), "signs")?;
    Ok(prompts.into_iter().map(|(prompt, _)| prompt).collect())
}
