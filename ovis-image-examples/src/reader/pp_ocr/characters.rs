//! Characters that a recognition model tells apart.

use std::fs;
use std::path::Path;

use crate::reader::error::ReaderError;

/// Characters by class. Class 0 is a gap, and the last one is a space.
#[derive(Debug)]
pub(super) struct Characters {
    of_classes: Vec<String>,
}

impl Characters {
    /// Takes a character from each line.
    pub(super) fn new(lines: &str) -> Self {
        let characters = lines.lines().chain([" "]);
        Self {
            of_classes: characters.map(str::to_owned).collect(),
        }
    }

    /// Reads a text file.
    ///
    /// # Errors
    /// Returns [`ReaderError`] if the file cannot be read.
    pub(super) fn read(path: &Path) -> Result<Self, ReaderError> {
        let text = fs::read_to_string(path).map_err(|source| ReaderError::Read {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self::new(&text))
    }

    /// Returns the number of classes.
    pub(super) fn classes(&self) -> usize {
        self.of_classes.len() + 1
    }

    /// Returns the character of a class, or `None` for a gap.
    pub(super) fn of_class(&self, class: usize) -> Option<&str> {
        let character = self.of_classes.get(class.checked_sub(1)?);
        character.map(String::as_str)
    }
}
