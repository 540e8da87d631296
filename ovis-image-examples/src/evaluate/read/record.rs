//! Lines of the output.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::evaluate::error::EvaluateError;
use crate::evaluate::readings::MOST_BYTES;
use crate::shared::input_file;

/// Reading of an image.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Record {
    /// Returns the record of an image that was read.
    pub(super) fn read(image: &str, words: Vec<String>) -> Self {
        Self {
            image: image.to_owned(),
            words: Some(words),
            error: None,
        }
    }

    /// Returns the record of an image that could not be read.
    pub(super) fn unreadable(image: &str, error: String) -> Self {
        Self {
            image: image.to_owned(),
            words: None,
            error: Some(error),
        }
    }

    /// Returns the reason why the image could not be read, if there is one.
    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }
}

/// Returns the records as JSON lines.
pub(super) fn lines(records: &BTreeMap<String, Record>) -> Vec<u8> {
    let mut lines = Vec::new();
    for record in records.values() {
        // Strings can always be written.
        if let Ok(mut line) = serde_json::to_vec(record) {
            lines.append(&mut line);
            lines.push(b'\n');
        }
    }
    lines
}

/// Reads the records of images that were read from an earlier output.
///
/// # Errors
/// Returns [`EvaluateError`] if the file cannot be read or is not an output of `evaluate read`.
pub(super) fn read_words(path: &Path) -> Result<BTreeMap<String, Record>, EvaluateError> {
    let bytes = input_file::read(path, MOST_BYTES).map_err(|source| EvaluateError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mut records = BTreeMap::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let record: Record = serde_json::from_slice(line).map_err(|error| EvaluateError::Line {
            path: path.to_owned(),
            line: index + 1,
            reason: error.to_string(),
        })?;
        if record.words.is_some() && record.error.is_none() {
            records.insert(record.image.clone(), record);
        }
    }
    Ok(records)
}
