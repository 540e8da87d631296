//! Files that appear complete or not at all, even if the process is killed.
//!
//! The name of the unfinished file is fixed, not random: the next run replaces what a killed one
//! left, so both end with the same files.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::ManifestError;

/// Writes a file of JSON lines. The file takes its name when it is finished.
#[derive(Debug)]
pub struct LineWriter {
    file: BufWriter<File>,
    unfinished: PathBuf,
    path: PathBuf,
}

impl LineWriter {
    /// Creates the file under a temporary name.
    ///
    /// # Errors
    /// Returns [`ManifestError::Write`].
    pub fn create(path: &Path) -> Result<Self, ManifestError> {
        let unfinished = unfinished(path);
        let file = File::create(&unfinished).map_err(failed(path))?;
        Ok(Self {
            file: BufWriter::new(file),
            unfinished,
            path: path.to_owned(),
        })
    }

    /// Writes a value as a line.
    ///
    /// # Errors
    /// Returns [`ManifestError::Write`], also for a value that JSON cannot express.
    pub fn write(&mut self, value: &impl Serialize) -> Result<(), ManifestError> {
        let mut line = serde_json::to_vec(value)
            .map_err(|error| failed(&self.path)(std::io::Error::other(error)))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(failed(&self.path))
    }

    /// Flushes the file to disk and gives it its name.
    ///
    /// # Errors
    /// Returns [`ManifestError::Write`].
    pub fn finish(self) -> Result<(), ManifestError> {
        let fail = failed(&self.path);
        let file = self
            .file
            .into_inner()
            .map_err(|error| fail(error.into_error()))?;
        file.sync_all()
            .and_then(|()| fs::rename(&self.unfinished, &self.path))
            .map_err(fail)
    }
}

/// Writes bytes to a file that appears complete or not at all.
///
/// # Errors
/// Returns [`ManifestError::Write`].
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), ManifestError> {
    let unfinished = unfinished(path);
    fs::write(&unfinished, bytes)
        .and_then(|()| fs::rename(&unfinished, path))
        .map_err(failed(path))
}

fn unfinished(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.unfinished"))
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> ManifestError + use<> {
    let path = path.to_owned();
    move |source| ManifestError::Write {
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Row, Rows};

    #[test]
    fn a_file_appears_when_it_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("manifest.jsonl");
        let row = Row {
            image: "a.png".into(),
            ..Row::default()
        };
        let mut writer = LineWriter::create(&path).unwrap();
        writer.write(&row).unwrap();
        assert!(!path.exists());
        writer.finish().unwrap();
        assert_eq!(Rows::open(&path).unwrap().next().unwrap().unwrap(), row);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
