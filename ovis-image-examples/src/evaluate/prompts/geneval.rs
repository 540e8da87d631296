//! GenEval.

use std::path::Path;

use serde::Deserialize;

use super::{file_in, lines};
use crate::evaluate::error::EvaluateError;

#[derive(Deserialize)]
struct Item {
    /// Task. Other benchmarks have none.
    #[serde(rename = "tag")]
    _tag: String,
    prompt: String,
}

/// Reads the prompts of GenEval from `evaluation_metadata.jsonl`, or from the folder with this
/// file: each with its line, which the scorer reads beside the images.
///
/// # Errors
/// Returns [`EvaluateError`] if the file is not one of the benchmark.
pub fn geneval(path: &Path) -> Result<Vec<(String, String)>, EvaluateError> {
    let prompts = lines::<Item>(&file_in(path, "evaluation_metadata.jsonl"), "GenEval")?;
    let prompts = prompts.into_iter();
    Ok(prompts.map(|(item, line)| (item.prompt, line)).collect())
}
