//! Readings: a file of JSON lines, each with the lines of text that a reader found in an image.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::EvaluateError;
use crate::shared::input_file;

/// Greatest length of a file of readings, in bytes.
pub(super) const MOST_BYTES: u64 = 1 << 30;

/// Line of the file.
#[derive(Debug, Deserialize)]
struct Line {
    image: String,
    words: Option<Vec<String>>,
    error: Option<String>,
}

/// Reading of one image.
#[derive(Debug)]
struct Reading {
    /// Path of the image as the file has it.
    image: String,
    /// Lines that were read; `None` if the image could not be read.
    lines: Option<Vec<String>>,
    line: usize,
}

/// Readings by the key that a benchmark finds its images with.
#[derive(Debug, Default)]
pub struct Readings {
    by_key: HashMap<String, Reading>,
    /// Images that belong to no prompt.
    ignored: Vec<String>,
}

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
        let bytes = input_file::read(path, MOST_BYTES).map_err(|source| EvaluateError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut readings = Self::default();
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let number = index + 1;
            let at = |reason| EvaluateError::Line {
                path: PathBuf::from(path),
                line: number,
                reason,
            };
            let reading = reading_of(line, number).map_err(at)?;
            let Some(key) = key_of(&reading.image) else {
                readings.ignored.push(reading.image);
                continue;
            };
            if let Some(earlier) = readings.by_key.get(&key) {
                return Err(at(format!(
                    "{} was read in line {} already",
                    reading.image, earlier.line
                )));
            }
            readings.by_key.insert(key, reading);
        }
        Ok(readings)
    }

    /// Takes the reading of an image out: `None` if there is none, an inner `None` if the image
    /// could not be read.
    pub fn take(&mut self, key: &str) -> Option<Option<Vec<String>>> {
        self.by_key.remove(key).map(|reading| reading.lines)
    }

    /// Takes the readings of all keys out that a function accepts, in the order of the file.
    pub fn take_all(&mut self, accepts: impl Fn(&str) -> bool) -> Vec<Option<Vec<String>>> {
        let keys = self.by_key.keys().filter(|key| accepts(key));
        let mut keys: Vec<String> = keys.cloned().collect();
        keys.sort_by_key(|key| self.by_key[key].line);
        keys.iter().filter_map(|key| self.take(key)).collect()
    }

    /// Returns the images that were not taken, in the order of their paths.
    pub fn ignored(self) -> Vec<String> {
        let left = self.by_key.into_values().map(|reading| reading.image);
        let mut images: Vec<String> = left.chain(self.ignored).collect();
        images.sort();
        images
    }
}

fn reading_of(line: &[u8], number: usize) -> Result<Reading, String> {
    let line: Line = serde_json::from_slice(line).map_err(|error| {
        format!(r#"it is no reading such as {{"image": "…", "words": ["…"]}}: {error}"#)
    })?;
    if line.words.is_none() && line.error.is_none() {
        return Err("it has neither `words` nor `error`".to_owned());
    }
    Ok(Reading {
        image: line.image,
        lines: line.words.filter(|_| line.error.is_none()),
        line: number,
    })
}

/// Returns the last `count` parts of a path, the last one without its extension, or `None` if the
/// path is shorter or its extension is not one of an image.
pub fn last_parts(image: &str, count: usize) -> Option<Vec<&str>> {
    let mut parts: Vec<&str> = image.split('/').collect();
    let (stem, extension) = parts.pop()?.rsplit_once('.')?;
    let known = ["png", "jpg", "jpeg", "webp"];
    if !known
        .iter()
        .any(|name| extension.eq_ignore_ascii_case(name))
        || stem.is_empty()
    {
        return None;
    }
    parts.push(stem);
    let start = parts.len().checked_sub(count)?;
    Some(parts.split_off(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_path_names_an_image() {
        let parts = last_parts("results/CVTG/2/17.PNG", 3).unwrap();
        assert_eq!(parts, ["CVTG", "2", "17"]);
        assert_eq!(last_parts("2/17.png", 3), None);
        assert_eq!(last_parts("CVTG/2/17.txt", 3), None);
        assert_eq!(last_parts("CVTG/2/17", 3), None);
    }
}
