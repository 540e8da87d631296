//! Results of the parts of the input, one file for each part. The file's name is derived from the
//! inputs of the part, so a run finds what an earlier one finished, and never a stale result.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Folder of parts.
#[derive(Debug)]
pub struct Parts {
    folder: PathBuf,
    used: Vec<PathBuf>,
}

impl Parts {
    /// Opens a folder, and creates it if it does not exist.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn open(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create the folder {}", folder.display()))?;
        Ok(Self {
            folder: folder.to_owned(),
            used: Vec::new(),
        })
    }

    /// Returns the file of the next part and whether it is finished. `made_of` is everything that
    /// its content depends on.
    pub fn next(&mut self, made_of: &[u8]) -> (PathBuf, bool) {
        let hash = Sha256::digest(made_of);
        let hash: String = hash
            .iter()
            .take(10)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let name = format!("{:06}-{hash}.jsonl", self.used.len());
        let path = self.folder.join(name);
        self.used.push(path.clone());
        let is_finished = path.is_file();
        (path, is_finished)
    }

    /// Removes the parts of other inputs, and returns those of this one, in order.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn finish(self) -> Result<Vec<PathBuf>> {
        let used: BTreeSet<&Path> = self.used.iter().map(PathBuf::as_path).collect();
        let clean = || -> std::io::Result<()> {
            for entry in fs::read_dir(&self.folder)? {
                let path = entry?.path();
                if !used.contains(path.as_path()) {
                    fs::remove_file(path)?;
                }
            }
            Ok(())
        };
        clean().with_context(|| format!("cannot clear {}", self.folder.display()))?;
        Ok(self.used)
    }
}
