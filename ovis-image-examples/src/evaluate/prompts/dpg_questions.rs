//! Questions of DPG-Bench.

use std::collections::BTreeMap;
use std::path::Path;

use ovis_image::evaluation::dpg::{Question, category};
use serde::Deserialize;

use super::{file_in, of_another, read};
use crate::evaluate::error::EvaluateError;

const DPG: &str = "DPG-Bench";

/// Name of the file of questions.
const FILE: &str = "dpg_bench.csv";

#[derive(Deserialize)]
struct Row {
    item_id: String,
    proposition_id: u32,
    dependency: String,
    tuple: String,
    question_natural_language: Option<String>,
}

/// Reads the questions of DPG-Bench from `dpg_bench.csv`, or from the folder with this file: each
/// with the item that it is about, in the order of the file.
///
/// # Errors
/// Returns [`EvaluateError`] if the file is not one of the benchmark.
pub fn dpg_questions(path: &Path) -> Result<Vec<(String, Question)>, EvaluateError> {
    let path = file_in(path, FILE);
    let mut questions = Vec::new();
    for (index, row) in rows(&path)?.into_iter().enumerate() {
        let parents = row
            .dependency
            .split(',')
            .map(|parent| parent.trim().parse());
        let parents = parents.collect::<Result<Vec<u32>, _>>();
        let parents = parents.map_err(|_| {
            let reason = format!("`{}` is not a list of questions", row.dependency);
            invalid(&path, index, &reason)
        })?;
        let question = Question {
            id: row.proposition_id,
            parents,
            category: category(&row.tuple).to_owned(),
        };
        questions.push((row.item_id, question));
    }
    Ok(questions)
}

/// Reads the questions of DPG-Bench like [`dpg_questions`]: their texts by number, by item. Of
/// questions of an item with the same number, the last one counts.
///
/// # Errors
/// Returns [`EvaluateError`] if the file is not one of the benchmark.
pub fn dpg_texts(path: &Path) -> Result<BTreeMap<String, BTreeMap<u32, String>>, EvaluateError> {
    let path = file_in(path, FILE);
    let mut items: BTreeMap<String, BTreeMap<u32, String>> = BTreeMap::new();
    for (index, row) in rows(&path)?.into_iter().enumerate() {
        let text = row.question_natural_language;
        let text = text.filter(|text| !text.trim().is_empty());
        let text = text.ok_or_else(|| {
            invalid(
                &path,
                index,
                "there is no text in `question_natural_language`",
            )
        })?;
        if row.item_id.contains(['/', '\\']) || row.item_id.starts_with('.') {
            return Err(invalid(
                &path,
                index,
                "`item_id` is not the name of an image",
            ));
        }
        let questions = items.entry(row.item_id).or_default();
        questions.insert(row.proposition_id, text);
    }
    Ok(items)
}

fn rows(path: &Path) -> Result<Vec<Row>, EvaluateError> {
    let bytes = read(path)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let rows = csv::Reader::from_reader(bytes)
        .into_deserialize()
        .enumerate();
    let rows = rows
        .map(|(index, row)| row.map_err(|error| invalid(path, index, &error.to_string())))
        .collect::<Result<Vec<Row>, _>>()?;
    if rows.is_empty() {
        return Err(of_another(path, DPG, "it is empty"));
    }
    Ok(rows)
}

/// Makes the error of a row, numbered from 0.
fn invalid(path: &Path, index: usize, reason: &str) -> EvaluateError {
    of_another(path, DPG, format!("row {}: {reason}", index + 1))
}
