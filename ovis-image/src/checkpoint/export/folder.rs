//! A folder that appears only when it is complete.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::part_lock::PartLock;
use crate::checkpoint::file_names::TOKENIZER_FILE;
use crate::checkpoint::open::TokenizerFile;
use crate::error::{OvisImageError, Result};

/// A temporary folder beside the requested one, which it replaces when complete. It is removed if
/// dropped before that, and by the next export to the same target if its process was killed.
pub(super) struct PartFolder {
    part: PathBuf,
    target: PathBuf,
    /// `None` once the folder is complete.
    lock: Option<PartLock>,
}

/// Number of exports to the same target at once, beyond which no further one starts.
const MAX_PARTS: usize = 1000;
/// Ending of the names of temporary folders.
const PART_ENDING: &str = ".part";
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
        remove_abandoned(target, name);
        // The folder must be new: an existing one is in use.
        let mut number = 0;
        loop {
            let part = target.with_file_name(format!(".{name}.{number}{PART_ENDING}"));
            match fs::create_dir(&part) {
                Ok(()) => {
                    let lock = PartLock::hold(&part).map_err(|error| io(&part, error))?;
                    return Ok(Self {
                        part,
                        target: target.to_owned(),
                        lock: Some(lock),
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
    pub(super) fn complete(mut self) -> Result<()> {
        if let Some(lock) = self.lock.take() {
            lock.release()
                .map_err(|error| OvisImageError::io(&self.part, error))?;
        }
        // On Windows, an empty folder would block the rename. If it cannot be removed, the rename
        // reports why.
        let _ = fs::remove_dir(&self.target);
        fs::rename(&self.part, &self.target)
            .map_err(|error| OvisImageError::io(&self.target, error))
    }
}

/// Removes the temporary folders of exports to a target whose processes were killed.
fn remove_abandoned(target: &Path, name: &str) {
    let folder = match target.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    // A folder that cannot be listed is reported when something is created in it.
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let file_name = entry.file_name();
        let number = file_name
            .to_str()
            .and_then(|text| {
                text.strip_prefix('.')?
                    .strip_prefix(name)?
                    .strip_prefix('.')
            })
            .and_then(|text| text.strip_suffix(PART_ENDING));
        let is_part = number.is_some_and(|number| number.parse::<usize>().is_ok())
            && entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_part || !PartLock::is_abandoned(&entry.path()) {
            continue;
        }
        match fs::remove_dir_all(entry.path()) {
            Ok(()) => {
                tracing::info!(folder = %entry.path().display(), "removed an incomplete export, whose program was killed")
            }
            Err(error) => {
                tracing::warn!(folder = %entry.path().display(), %error, "an incomplete export, whose program was killed, could not be removed")
            }
        }
    }
}

impl Drop for PartFolder {
    fn drop(&mut self) {
        // An open file cannot be removed on every system.
        self.lock = None;
        if self.part.exists()
            && let Err(error) = fs::remove_dir_all(&self.part)
        {
            tracing::warn!(folder = %self.part.display(), %error, "an incomplete export could not be removed");
        }
    }
}
