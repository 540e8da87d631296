//! Rows of a file, found by id. Only hashes of ids and offsets of lines are held in memory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{JsonLines, MOST_LINE_BYTES, ManifestError};

/// Hashes a text to 64 bits, equal on every machine.
pub fn hash(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    digest
        .iter()
        .take(8)
        .fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// File of JSON lines in which rows are found by id. If several lines have one id, the last counts.
#[derive(Debug)]
pub struct Joined {
    path: PathBuf,
    file: Mutex<BufReader<File>>,
    offsets: HashMap<u64, u64>,
}

impl Joined {
    /// Indexes the rows of a file.
    ///
    /// # Errors
    /// Returns an error that names the first line without an `id`.
    pub fn open(path: &Path) -> Result<Self, ManifestError> {
        let mut offsets = HashMap::new();
        for line in JsonLines::open(path)? {
            let line = line?;
            let parsed = line.bytes.and_then(|bytes| {
                let record: Map<String, Value> =
                    serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
                id(&record).ok_or_else(|| "it has no `id`".to_owned())
            });
            let id = parsed.map_err(|reason| ManifestError::Line {
                path: path.to_owned(),
                line: line.number,
                reason,
            })?;
            offsets.insert(hash(&id), line.offset);
        }
        let file = File::open(path).map_err(|source| read_error(path, source))?;
        Ok(Self {
            path: path.to_owned(),
            file: Mutex::new(BufReader::new(file)),
            offsets,
        })
    }

    /// Returns the file's name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Finds the row with an id.
    ///
    /// # Errors
    /// Returns [`ManifestError::Read`], also if the file was changed.
    pub fn find(&self, wanted: &str) -> Result<Option<Map<String, Value>>, ManifestError> {
        let Some(offset) = self.offsets.get(&hash(wanted)) else {
            return Ok(None);
        };
        let mut line = Vec::new();
        let mut read = || -> std::io::Result<Map<String, Value>> {
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(*offset))?;
            (&mut *file)
                .take(MOST_LINE_BYTES)
                .read_until(b'\n', &mut line)?;
            Ok(serde_json::from_slice(&line)?)
        };
        let record = read().map_err(|source| read_error(&self.path, source))?;
        Ok(Some(record).filter(|record| id(record).as_deref() == Some(wanted)))
    }
}

fn read_error(path: &Path, source: std::io::Error) -> ManifestError {
    let path = path.to_owned();
    ManifestError::Read { path, source }
}

fn id(record: &Map<String, Value>) -> Option<String> {
    match record.get("id")? {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_row_of_an_id_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scores.jsonl");
        std::fs::write(
            &path,
            "{\"id\":\"a\",\"x\":1}\n{\"id\":7}\n{\"id\":\"a\",\"x\":2}\n",
        )
        .unwrap();
        let joined = Joined::open(&path).unwrap();
        assert_eq!(joined.find("a").unwrap().unwrap()["x"], 2);
        assert!(joined.find("7").unwrap().is_some() && joined.find("b").unwrap().is_none());
        std::fs::write(&path, "{\"id\":\"a\"}\n{}\n").unwrap();
        assert!(
            Joined::open(&path)
                .unwrap_err()
                .to_string()
                .contains("line 2")
        );
    }
}
