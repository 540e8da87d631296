//! Files of wildcards: `NAME.txt` with one value a line.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, ensure};

use super::template::Alternative;
use crate::shared::usage::UsageError;

/// Size of the largest file that is read, in bytes.
pub const MOST_BYTES: u64 = 4 << 20;

/// A folder of wildcard files. Each is read once.
#[derive(Debug)]
pub struct WildcardFolder {
    path: PathBuf,
    read: BTreeMap<String, Rc<[Alternative]>>,
}

impl WildcardFolder {
    /// Opens a folder. Reads no file yet.
    ///
    /// # Errors
    /// Returns an error if the path is not a folder.
    pub fn open(path: &Path) -> Result<Self> {
        ensure!(
            path.is_dir(),
            UsageError(format!(
                "{} is not a folder of wildcard files",
                path.display()
            ))
        );
        Ok(Self {
            path: path.to_owned(),
            read: BTreeMap::new(),
        })
    }

    /// Returns the lines of a wildcard's file, without empty ones and comments (`#`).
    ///
    /// # Errors
    /// Returns an error that names the file if the wildcard would leave the folder, and if the file
    /// cannot be read, has no lines or has a malformed one.
    pub fn lines(&mut self, name: &str) -> Result<Rc<[Alternative]>> {
        if let Some(lines) = self.read.get(name) {
            return Ok(lines.clone());
        }
        let lines: Rc<[Alternative]> = self.read_lines(name)?.into();
        self.read.insert(name.to_owned(), lines.clone());
        Ok(lines)
    }

    fn read_lines(&self, name: &str) -> Result<Vec<Alternative>> {
        ensure!(
            !name.contains('*'),
            UsageError(format!(
                "`__{name}__` has a `*`, which is not supported: name one file"
            ))
        );
        let is_inside = name
            .split('/')
            .all(|part| !part.is_empty() && !part.starts_with('.'));
        ensure!(
            is_inside,
            UsageError(format!(
                "`__{name}__` does not name a file in {}",
                self.path.display()
            ))
        );
        let path = self.path.join(format!("{name}.txt"));
        let text = read(&path).with_context(|| {
            format!("cannot read the wildcard `__{name}__` from {} (as text, it is written \\__{name}__)", path.display())
        })?;
        let mut lines = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let alternative = Alternative::parse(line);
            lines.push(
                alternative.with_context(|| format!("line {} of {}", index + 1, path.display()))?,
            );
        }
        ensure!(!lines.is_empty(), "{} has no lines", path.display());
        Ok(lines)
    }
}

/// Reads a regular file of a limited size.
fn read(path: &Path) -> Result<String> {
    // Opening a pipe would wait for a writer.
    ensure!(fs::metadata(path)?.is_file(), "it is not a regular file");
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)?;
    ensure!(
        bytes.len() as u64 <= MOST_BYTES,
        "it is larger than {MOST_BYTES} bytes"
    );
    let text = String::from_utf8(bytes).context("it is not UTF-8")?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(text) => text.to_owned(),
        None => text,
    })
}
