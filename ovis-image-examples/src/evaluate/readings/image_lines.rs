//! Files of JSON lines, each about one image.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::evaluate::error::EvaluateError;
use crate::shared::input_file;

/// Greatest length of such a file, in bytes.
pub(in crate::evaluate) const MOST_BYTES: u64 = 1 << 30;

/// Content of a line about an image.
#[derive(Debug)]
pub struct ImageLine<T> {
    /// Path of the image as the file has it.
    pub image: String,
    /// Key that the benchmark finds the image with, or `None` if the image is not one of the
    /// benchmark's.
    pub key: Option<String>,
    /// Content of the line, or `None` if the image could not be judged.
    pub content: Option<T>,
}

/// Content of a line, with the number of the line.
#[derive(Debug)]
pub struct Numbered<T> {
    /// Number of the line, from 1.
    pub line: usize,
    /// Content of the line, or `None` if the image could not be judged.
    pub content: Option<T>,
    image: String,
}

/// Lines of a file by the key of their image.
#[derive(Debug)]
pub struct ImageLines<T> {
    path: PathBuf,
    by_key: HashMap<String, Numbered<T>>,
    /// Images that are not of the benchmark.
    ignored: Vec<String>,
}

impl<T> ImageLines<T> {
    /// Reads a file. `parse` reads a line, or returns what is wrong with it.
    ///
    /// # Errors
    /// Returns [`EvaluateError`] with the number of the first line that is invalid or repeats an
    /// image.
    pub fn read(
        path: &Path,
        parse: impl Fn(&[u8]) -> Result<ImageLine<T>, String>,
    ) -> Result<Self, EvaluateError> {
        let bytes = input_file::read(path, MOST_BYTES).map_err(|source| EvaluateError::Read {
            path: path.to_owned(),
            source,
        })?;
        let mut lines = Self {
            path: path.to_owned(),
            by_key: HashMap::new(),
            ignored: Vec::new(),
        };
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let number = index + 1;
            let parsed = parse(line).map_err(|reason| lines.error(number, reason))?;
            let Some(key) = parsed.key else {
                lines.ignored.push(parsed.image);
                continue;
            };
            if let Some(earlier) = lines.by_key.get(&key) {
                let reason = format!("{} is in line {} already", parsed.image, earlier.line);
                return Err(lines.error(number, reason));
            }
            let line = Numbered {
                line: number,
                content: parsed.content,
                image: parsed.image,
            };
            lines.by_key.insert(key, line);
        }
        Ok(lines)
    }

    /// Removes the line of an image and returns it.
    pub fn take_line(&mut self, key: &str) -> Option<Numbered<T>> {
        self.by_key.remove(key)
    }

    /// Removes the line of an image and returns its content: `None` without a line, `Some(None)` if
    /// the image could not be judged.
    pub fn take(&mut self, key: &str) -> Option<Option<T>> {
        self.take_line(key).map(|line| line.content)
    }

    /// Takes the contents of all keys out that a function accepts, in the order of the file.
    pub fn take_all(&mut self, accepts: impl Fn(&str) -> bool) -> Vec<Option<T>> {
        let keys = self.by_key.keys().filter(|key| accepts(key));
        let mut keys: Vec<String> = keys.cloned().collect();
        keys.sort_by_key(|key| self.by_key[key].line);
        keys.iter().filter_map(|key| self.take(key)).collect()
    }

    /// Returns the images that were not taken, in the order of their paths.
    pub fn ignored(self) -> Vec<String> {
        let left = self.by_key.into_values().map(|line| line.image);
        let mut images: Vec<String> = left.chain(self.ignored).collect();
        images.sort();
        images
    }

    /// Makes the error of an invalid line.
    pub fn error(&self, line: usize, reason: impl Into<String>) -> EvaluateError {
        EvaluateError::Line {
            path: self.path.clone(),
            line,
            reason: reason.into(),
        }
    }
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
