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
    /// Number of the image in a grid, row by row from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Record {
    /// Returns the record of an image that was read.
    pub(super) fn read(image: &str, part: Option<usize>, words: Vec<String>) -> Self {
        Self {
            image: image.to_owned(),
            part,
            words: Some(words),
            error: None,
        }
    }

    /// Returns the record of an image that could not be read.
    pub(super) fn unreadable(image: &str, part: Option<usize>, error: String) -> Self {
        Self {
            image: image.to_owned(),
            part,
            words: None,
            error: Some(error),
        }
    }

    /// Returns the reason why the image could not be read, if there is one.
    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }
}

/// Records of the images, or of the images in each grid, by the names of the files.
pub(super) type Records = BTreeMap<String, Vec<Record>>;

/// Returns the records as JSON lines.
pub(super) fn lines(records: &Records) -> Vec<u8> {
    let mut lines = Vec::new();
    for record in records.values().flatten() {
        // Strings can always be written.
        if let Ok(mut line) = serde_json::to_vec(record) {
            lines.append(&mut line);
            lines.push(b'\n');
        }
    }
    lines
}

/// Reads the records of images from an earlier output, if all images of the file were read. `parts`
/// is the number of images in a grid, or `None` for single images.
///
/// # Errors
/// Returns [`EvaluateError`] if the file cannot be read or is not an output of `evaluate read`.
pub(super) fn read_words(path: &Path, parts: Option<usize>) -> Result<Records, EvaluateError> {
    let bytes = input_file::read(path, MOST_BYTES).map_err(|source| EvaluateError::Read {
        path: path.to_owned(),
        source,
    })?;
    let mut records = Records::new();
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
            let of_image = records.entry(record.image.clone()).or_default();
            of_image.push(record);
        }
    }
    records.retain(|_, records| is_complete(records, parts));
    Ok(records)
}

fn is_complete(records: &mut [Record], parts: Option<usize>) -> bool {
    records.sort_by_key(|record| record.part);
    let expected: Vec<Option<usize>> = match parts {
        Some(parts) => (0..parts).map(Some).collect(),
        None => vec![None],
    };
    records.iter().map(|record| record.part).eq(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_are_kept_if_all_their_images_were_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("readings.jsonl");
        let read = |part| Record::read("a.webp", part, vec!["OPEN".to_owned()]);
        let kept = |records: Vec<Record>, parts| {
            let records = Records::from([("a.webp".to_owned(), records)]);
            std::fs::write(&path, lines(&records)).unwrap();
            !read_words(&path, parts).unwrap().is_empty()
        };
        assert!(kept(vec![read(Some(1)), read(Some(0))], Some(2)));
        assert!(!kept(vec![read(Some(1))], Some(2)));
        assert!(!kept(vec![read(Some(0)), read(Some(1))], None));
        assert!(kept(vec![read(None)], None));
        let unreadable = Record::unreadable("a.webp", None, "black".to_owned());
        assert!(!kept(vec![unreadable], None));
    }
}
