//! Readings: a file of JSON lines, each with the lines of text that a reader found in an image.

mod image_lines;

use std::path::Path;

use serde::Deserialize;

use super::error::EvaluateError;
pub(super) use image_lines::MOST_BYTES;
pub use image_lines::{ImageLine, ImageLines, last_parts};

/// Line of the file.
#[derive(Debug, Deserialize)]
struct Line {
    image: String,
    /// Number of the image in a grid of several, row by row from 0.
    #[serde(default)]
    part: usize,
    words: Option<Vec<String>>,
    error: Option<String>,
}

/// Lines of text in each image by the key that a benchmark finds its images with.
pub type Readings = ImageLines<Vec<String>>;

impl Readings {
    /// Reads a file. `key_of` finds the key of an image from its path, or `None` if the path is not
    /// one of the benchmark's.
    ///
    /// # Errors
    /// Returns [`EvaluateError`] with the number of the first line that is not a reading, or that
    /// repeats an image.
    pub fn open(
        path: &Path,
        key_of: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, EvaluateError> {
        Self::open_parts(path, |image, _| key_of(image))
    }

    /// Reads a file whose images may be grids. `key_of` also gets the number of the image in its
    /// grid, row by row from 0.
    ///
    /// # Errors
    /// Returns [`EvaluateError`] like [`open`](Self::open).
    pub fn open_parts(
        path: &Path,
        key_of: impl Fn(&str, usize) -> Option<String>,
    ) -> Result<Self, EvaluateError> {
        Self::read(path, |line| {
            let line: Line = serde_json::from_slice(line).map_err(|error| {
                format!(r#"it is not a reading such as {{"image": "…", "words": ["…"]}}: {error}"#)
            })?;
            if line.words.is_none() && line.error.is_none() {
                return Err("it has neither `words` nor `error`".to_owned());
            }
            Ok(ImageLine {
                key: key_of(&line.image, line.part),
                image: line.image,
                content: line.words.filter(|_| line.error.is_none()),
            })
        })
    }
}
