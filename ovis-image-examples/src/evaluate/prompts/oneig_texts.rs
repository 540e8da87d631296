//! Texts of OneIG-Bench.

use std::path::Path;

use ovis_image::evaluation::longtext::Language;
use serde::Deserialize;

use super::{of_another, read};
use crate::evaluate::error::EvaluateError;

const ONEIG: &str = "OneIG-Bench";

/// Text that an image should show.
#[derive(Debug, Deserialize)]
pub struct OneIgText {
    /// Name of the image.
    pub id: String,
    /// List of texts in the notation of Python.
    #[serde(rename = "text_content")]
    pub cell: String,
}

/// Reads the texts of OneIG-Bench from a clone of its repository, or from a folder with
/// `text_content.csv` or `text_content_zh.csv`.
///
/// # Errors
/// Returns [`EvaluateError`] if the file is not one of the benchmark.
pub fn oneig_texts(folder: &Path, language: Language) -> Result<Vec<OneIgText>, EvaluateError> {
    let name = match language {
        Language::English => "text_content.csv",
        Language::Chinese => "text_content_zh.csv",
    };
    let in_clone = folder.join("scripts/text").join(name);
    let path = if in_clone.is_file() {
        in_clone
    } else {
        folder.join(name)
    };
    let bytes = read(&path)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let rows = csv::Reader::from_reader(bytes).into_deserialize();
    let texts: Vec<OneIgText> = rows
        .collect::<Result<_, _>>()
        .map_err(|error| of_another(&path, ONEIG, error.to_string()))?;
    if texts.is_empty() {
        return Err(of_another(&path, ONEIG, "it is empty"));
    }
    Ok(texts)
}
