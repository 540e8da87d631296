//! Finds the models in a folder.

use std::fs;
use std::path::{Path, PathBuf};

use crate::reader::error::ReaderError;

/// Purpose of a model.
#[derive(Debug, Clone, Copy)]
pub(super) struct Role {
    /// Name in messages.
    pub(super) name: &'static str,
    /// Word of its file name.
    word: &'static str,
    /// File name of such a model.
    example: &'static str,
}

/// Marks text.
pub(super) const DETECTION: Role = Role {
    name: "detection",
    word: "det",
    example: "ch_PP-OCRv4_det_infer.onnx",
};

/// Tells whether a line stands on its head.
pub(super) const DIRECTION: Role = Role {
    name: "direction",
    word: "cls",
    example: "ch_ppocr_mobile_v2.0_cls_infer.onnx",
};

/// Reads a line.
pub(super) const RECOGNITION: Role = Role {
    name: "recognition",
    word: "rec",
    example: "ch_PP-OCRv4_rec_infer.onnx",
};

/// Files of the models.
#[derive(Debug)]
pub(super) struct ModelFiles {
    pub(super) detection: PathBuf,
    pub(super) direction: Option<PathBuf>,
    pub(super) recognition: PathBuf,
    /// Text file with a character per line, for recognition models that do not contain theirs.
    pub(super) characters: Option<PathBuf>,
}

impl ModelFiles {
    /// Finds the models in a folder by the words of their names.
    ///
    /// # Errors
    /// Returns [`ReaderError`] if the folder cannot be listed, or has no model or several ones for
    /// a purpose.
    pub(super) fn find(folder: &Path) -> Result<Self, ReaderError> {
        let unreadable = |source| ReaderError::Folder {
            path: folder.to_owned(),
            source,
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            names.push(entry.map_err(unreadable)?.file_name());
        }
        // File names of models are ASCII.
        let mut names: Vec<String> = names
            .into_iter()
            .filter_map(|name| name.into_string().ok())
            .collect();
        names.sort();
        let find = |role: Role| -> Result<Option<PathBuf>, ReaderError> {
            let mut models = names.iter().filter(|name| is_model(name, role.word));
            match (models.next(), models.next()) {
                (Some(first), Some(second)) => Err(ReaderError::Several {
                    folder: folder.to_owned(),
                    role: role.name,
                    first: first.clone(),
                    second: second.clone(),
                }),
                (first, _) => Ok(first.map(|name| folder.join(name))),
            }
        };
        let needed = |role: Role| {
            find(role)?.ok_or_else(|| ReaderError::Missing {
                folder: folder.to_owned(),
                role: role.name,
                example: role.example,
            })
        };
        let characters = names.iter().find(|name| {
            name.ends_with(".txt") && (name.contains("dict") || name.contains("keys"))
        });
        Ok(Self {
            detection: needed(DETECTION)?,
            direction: find(DIRECTION)?,
            recognition: needed(RECOGNITION)?,
            characters: characters.map(|name| folder.join(name)),
        })
    }
}

fn is_model(name: &str, word: &str) -> bool {
    name.strip_suffix(".onnx")
        .is_some_and(|stem| stem.split(['_', '-', '.']).any(|part| part == word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_found_by_the_words_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let missing = ModelFiles::find(folder.path()).unwrap_err().to_string();
        assert!(missing.contains("no detection model"), "{missing}");
        for name in ["ch_PP-OCRv4_det_infer.onnx", "rec.onnx", "detected.onnx"] {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        let files = ModelFiles::find(folder.path()).unwrap();
        assert!(files.detection.ends_with("ch_PP-OCRv4_det_infer.onnx"));
        assert!(files.direction.is_none() && files.characters.is_none());
        fs::write(folder.path().join("en_rec.onnx"), b"").unwrap();
        let several = ModelFiles::find(folder.path()).unwrap_err().to_string();
        assert!(several.contains("en_rec.onnx and rec.onnx"), "{several}");
    }
}
