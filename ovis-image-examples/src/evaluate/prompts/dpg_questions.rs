//! Questions of DPG-Bench.

use std::path::Path;

use ovis_image::evaluation::dpg::{Question, category};
use serde::Deserialize;

use super::{file_in, of_another, read};
use crate::evaluate::error::EvaluateError;

const DPG: &str = "DPG-Bench";

#[derive(Deserialize)]
struct Row {
    item_id: String,
    proposition_id: u32,
    dependency: String,
    tuple: String,
}

/// Reads the questions of DPG-Bench from `dpg_bench.csv`, or from the folder with this file: each
/// with the item that it is about, in the order of the file.
///
/// # Errors
/// Returns [`EvaluateError`] if the file is not one of the benchmark.
pub fn dpg_questions(path: &Path) -> Result<Vec<(String, Question)>, EvaluateError> {
    let path = file_in(path, "dpg_bench.csv");
    let bytes = read(&path)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut questions = Vec::new();
    for (index, row) in csv::Reader::from_reader(bytes).deserialize().enumerate() {
        let invalid =
            |reason: String| of_another(&path, DPG, format!("row {}: {reason}", index + 1));
        let row: Row = row.map_err(|error| invalid(error.to_string()))?;
        let parents = row
            .dependency
            .split(',')
            .map(|parent| parent.trim().parse());
        let parents = parents.collect::<Result<Vec<u32>, _>>();
        let parents = parents
            .map_err(|_| invalid(format!("`{}` is not a list of questions", row.dependency)))?;
        let question = Question {
            id: row.proposition_id,
            parents,
            category: category(&row.tuple).to_owned(),
        };
        questions.push((row.item_id, question));
    }
    if questions.is_empty() {
        return Err(of_another(&path, DPG, "it is empty"));
    }
    Ok(questions)
}
