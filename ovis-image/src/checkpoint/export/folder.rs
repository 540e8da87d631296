//! A folder that appears only when it is complete.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::checkpoint::file_names::TOKENIZER_FILE;
use crate::checkpoint::open::TokenizerFile;
use crate::error::{OvisImageError, Result};

/// A temporary folder beside the requested one, which it replaces when complete. It is removed if
/// dropped before that.
pub(super) struct PartFolder {
    part: PathBuf,
    target: PathBuf,
}

/// Number of folders left by killed processes that are skipped.
const MAX_PARTS: usize = 1000;
/// Name of the configuration that may accompany a `tokenizer.json`.
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const TOKENIZER_FILES: [&str; 7] = [
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
];

impl PartFolder {
    /// # Errors
    /// Returns an error if the target exists and is not empty, or if the folder cannot be created.
    pub(super) fn create(target: &Path) -> Result<Self> {
        let unusable = |reason: String| {
            OvisImageError::argument("folder", format!("{}: {reason}", target.display()))
        };
        let Some(name) = target.file_name().and_then(|name| name.to_str()) else {
            return Err(unusable(
                "it does not end in the name of a folder".to_owned(),
            ));
        };
        if target.exists() {
            if !target.is_dir() {
                return Err(unusable("it is not a folder".to_owned()));
            }
            let mut entries =
                fs::read_dir(target).map_err(|error| OvisImageError::io(target, error))?;
            if entries.next().is_some() {
                return Err(unusable("it exists and is not empty".to_owned()));
            }
        }
        let io = |path: &Path, error| OvisImageError::io(path, error);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(|error| io(parent, error))?;
        }
        // The folder must be new: an existing one may be left from a killed process, or be in use.
        let mut number = 0;
        loop {
            let part = target.with_file_name(format!(".{name}.{number}.part"));
            match fs::create_dir(&part) {
                Ok(()) => {
                    return Ok(Self {
                        part,
                        target: target.to_owned(),
                    });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists && number < MAX_PARTS => {
                    number += 1;
                }
                Err(error) => return Err(io(&part, error)),
            }
        }
    }

    /// Returns the path of a file, after creating its folder.
    pub(super) fn file(&self, name: impl AsRef<Path>) -> Result<PathBuf> {
        let path = self.part.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| OvisImageError::io(folder, error))?;
        }
        Ok(path)
    }

    /// Writes a small file.
    pub(super) fn write(&self, name: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
        let path = self.file(name)?;
        fs::write(&path, bytes).map_err(|error| OvisImageError::io(path, error))
    }

    /// Copies a tokenizer; returns whether it has a configuration for other programs.
    pub(super) fn tokenizer(&self, tokenizer: &TokenizerFile, folder: &Path) -> Result<bool> {
        let main = folder.join(TOKENIZER_FILE);
        let path = match tokenizer {
            TokenizerFile::Static(bytes) => {
                self.write(main, bytes)?;
                return Ok(false);
            }
            TokenizerFile::Path(path) => path,
        };
        let copy = |from: &Path, to: &Path| -> Result<()> {
            let to = self.file(to)?;
            let copied = fs::copy(from, to);
            copied
                .map(drop)
                .map_err(|error| OvisImageError::io(from, error))
        };
        copy(path, &main)?;
        let mut configured = false;
        for name in TOKENIZER_FILES {
            let beside = path.with_file_name(name);
            if beside.is_file() {
                copy(&beside, &folder.join(name))?;
                configured |= name == TOKENIZER_CONFIG;
            }
        }
        Ok(configured)
    }

    /// Moves the folder to its target.
    pub(super) fn complete(self) -> Result<()> {
        // On Windows, an empty folder would block the rename. If it cannot be removed, the rename
        // reports why.
        let _ = fs::remove_dir(&self.target);
        fs::rename(&self.part, &self.target)
            .map_err(|error| OvisImageError::io(&self.target, error))
    }
}

impl Drop for PartFolder {
    fn drop(&mut self) {
        if self.part.exists()
            && let Err(error) = fs::remove_dir_all(&self.part)
        {
            tracing::warn!(folder = %self.part.display(), %error, "an incomplete export could not be removed");
        }
    }
}
