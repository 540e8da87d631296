//! Rows of a manifest, one at a time.

use std::path::Path;

use super::{JsonLines, ManifestError, Row};

/// Reads the rows of a manifest.
#[derive(Debug)]
pub struct Rows(JsonLines);

impl Rows {
    /// Opens a manifest.
    ///
    /// # Errors
    /// Returns [`ManifestError::Read`].
    pub fn open(path: &Path) -> Result<Self, ManifestError> {
        Ok(Self(JsonLines::open(path)?))
    }
}

impl Iterator for Rows {
    type Item = Result<Row, ManifestError>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = match self.0.next()? {
            Ok(line) => line,
            Err(error) => return Some(Err(error)),
        };
        let parsed = line
            .bytes
            .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()));
        Some(parsed.map_err(|reason| ManifestError::Line {
            path: self.0.path().to_owned(),
            line: line.number,
            reason,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_line_and_the_rows_after_it_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.jsonl");
        let text =
            "{\"image\":\"a.png\",\"mine\":[1]}\n{\"id\":\"b\"}\nnot json\n{\"image\":\"c.png\"}\n";
        std::fs::write(&path, text).unwrap();
        let rows: Vec<_> = Rows::open(&path).unwrap().collect();
        assert_eq!(
            rows[0].as_ref().unwrap().other["mine"],
            serde_json::json!([1])
        );
        let message = |index: usize| rows[index].as_ref().unwrap_err().to_string();
        assert!(message(1).contains("line 2") && message(1).contains("image"));
        assert!(message(2).contains("line 3"));
        assert_eq!(rows[3].as_ref().unwrap().image, Path::new("c.png"));
    }
}
