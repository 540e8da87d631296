//! GenEval.

use std::path::Path;

use ovis_image::evaluation::geneval::Prompt;
use serde::Deserialize;

use super::{file_in, lines};
use crate::evaluate::error::EvaluateError;

const GENEVAL: &str = "GenEval";

/// Name of the file of prompts.
const FILE: &str = "evaluation_metadata.jsonl";

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
    let prompts = lines::<Item>(&file_in(path, FILE), GENEVAL)?;
    let prompts = prompts.into_iter();
    Ok(prompts.map(|(item, line)| (item.prompt, line)).collect())
}

/// Reads the prompts of GenEval like [`geneval`], with the objects that each asks for.
///
/// # Errors
/// Returns [`EvaluateError`] if the file is not one of the benchmark.
pub fn geneval_objects(path: &Path) -> Result<Vec<Prompt>, EvaluateError> {
    let prompts = lines(&file_in(path, FILE), GENEVAL)?;
    Ok(prompts.into_iter().map(|(prompt, _)| prompt).collect())
}
