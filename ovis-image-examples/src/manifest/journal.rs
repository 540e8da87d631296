//! Journal of answers as they arrive. A killed run loses none: only a torn last line is cut off.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::{JsonLines, ManifestError};

/// File to which lines are appended.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: Mutex<File>,
}

impl Journal {
    /// Opens a journal, or creates one.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or written.
    pub fn open(path: &Path) -> Result<Self, ManifestError> {
        let failed = |source| ManifestError::Write {
            path: path.to_owned(),
            source,
        };
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(failed)?;
        file.set_len(whole(path)?).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            file: Mutex::new(file),
        })
    }

    /// Appends a line.
    ///
    /// # Errors
    /// Returns [`ManifestError::Write`].
    pub fn add(&self, value: &impl Serialize) -> Result<(), ManifestError> {
        let write = || -> std::io::Result<()> {
            let mut line = serde_json::to_vec(value)?;
            line.push(b'\n');
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.write_all(&line)
        };
        write().map_err(|source| ManifestError::Write {
            path: self.path.clone(),
            source,
        })
    }
}

/// Returns the length of the complete lines.
fn whole(path: &Path) -> Result<u64, ManifestError> {
    let length = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let mut whole = length;
    for line in JsonLines::open(path)? {
        let line = line?;
        let is_whole = line.bytes.is_ok_and(|bytes| {
            // Without its line feed, a line may still be JSON, and the next one would join it.
            let end = line.offset + bytes.len() as u64;
            end < length && serde_json::from_slice::<serde_json::Value>(&bytes).is_ok()
        });
        if !is_whole {
            whole = line.offset;
            break;
        }
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_line_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        for torn in ["{\"id\":\"b\",\"cap", "{\"id\":\"b\"}"] {
            std::fs::write(&path, format!("{{\"id\":\"a\"}}\n{torn}")).unwrap();
            Journal::open(&path)
                .unwrap()
                .add(&serde_json::json!({"id": "c"}))
                .unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text, "{\"id\":\"a\"}\n{\"id\":\"c\"}\n");
        }
    }
}
