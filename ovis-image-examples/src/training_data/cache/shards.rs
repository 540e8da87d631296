//! Files of encodings. Their headers are read at the beginning, and a tensor when it is needed.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use half::bf16;
use safetensors::Dtype;
use safetensors::tensor::Metadata;

use crate::shared::input_file;
use crate::training_data::DataError;

/// Maximum size of a header, in bytes.
const MOST_HEADER: u64 = 64 << 20;

/// Tensor in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Shape.
    pub shape: Vec<usize>,
    dtype: Dtype,
    file: usize,
    start: u64,
    bytes: usize,
}

/// Open files of encodings.
#[derive(Debug, Default)]
pub struct Shards {
    files: Vec<(PathBuf, Mutex<File>)>,
    tensors: HashMap<String, Stored>,
}

impl Shards {
    /// Opens the files of a folder. Returns them with those that are damaged.
    ///
    /// # Errors
    /// Returns [`DataError::Cache`] if the folder cannot be read.
    pub fn open(folder: &Path) -> Result<(Self, Vec<DataError>), DataError> {
        let mut shards = Self::default();
        let mut damaged = Vec::new();
        let failed = |error: io::Error| wrong(folder, &error.to_string());
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if number(&path).is_some() {
                paths.push(path);
            }
        }
        paths.sort();
        for path in paths {
            if let Err(reason) = shards.add(&path) {
                damaged.push(wrong(&path, &reason));
            }
        }
        Ok((shards, damaged))
    }

    fn add(&mut self, path: &Path) -> Result<(), String> {
        let text = |error: io::Error| error.to_string();
        let mut file = input_file::open(path).map_err(text)?;
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(text)?;
        let header = u64::from_le_bytes(length);
        if header > MOST_HEADER {
            return Err("it is not a safetensors file".to_owned());
        }
        let mut json = Vec::new();
        let read = (&file).take(header).read_to_end(&mut json).map_err(text)?;
        let metadata: Metadata =
            serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        let found = metadata.tensors();
        let end = found.values().map(|info| info.data_offsets.1).max();
        let whole = file.metadata().map_err(text)?.len();
        if read as u64 != header || whole != 8 + header + end.unwrap_or(0) as u64 {
            return Err("its end is missing".to_owned());
        }
        for (name, info) in found {
            let elements = info
                .shape
                .iter()
                .try_fold(1_usize, |all, side| all.checked_mul(*side));
            let width = match info.dtype {
                Dtype::F32 => 4,
                Dtype::BF16 => 2,
                other => return Err(format!("`{name}` is {other:?}")),
            };
            let bytes = info.data_offsets.1.saturating_sub(info.data_offsets.0);
            if elements.and_then(|count| count.checked_mul(width)) != Some(bytes) {
                return Err(format!("`{name}` does not have the size of its shape"));
            }
            let stored = Stored {
                shape: info.shape.clone(),
                dtype: info.dtype,
                file: self.files.len(),
                start: 8 + header + info.data_offsets.0 as u64,
                bytes,
            };
            self.tensors.insert(name, stored);
        }
        self.files.push((path.to_owned(), Mutex::new(file)));
        Ok(())
    }

    /// Finds a tensor.
    pub fn get(&self, key: &str) -> Option<&Stored> {
        self.tensors.get(key)
    }

    /// Returns the files in which none of the keys is, and the number of the next file.
    pub fn unused(&self, keys: &HashSet<String>) -> (Vec<PathBuf>, u64) {
        let mut used = vec![false; self.files.len()];
        let tensors = self.tensors.iter().filter(|(key, _)| keys.contains(*key));
        for (_, stored) in tensors {
            used[stored.file] = true;
        }
        let files = self.files.iter().zip(used);
        let unused = files.filter(|(_, used)| !used);
        let unused = unused.map(|((path, _), _)| path.clone()).collect();
        let numbers = self.files.iter().filter_map(|(path, _)| number(path));
        (unused, numbers.max().map_or(0, |last| last + 1))
    }

    /// Reads the values of a tensor.
    ///
    /// # Errors
    /// Returns [`DataError::Cache`] if there is none, or if it cannot be read.
    pub fn read(&self, key: &str, folder: &Path) -> Result<(Vec<f32>, &[usize]), DataError> {
        let stored = self.get(key).ok_or_else(|| missing(folder, key))?;
        let (path, file) = &self.files[stored.file];
        let mut bytes = vec![0; stored.bytes];
        // A reader that panicked left no state behind: the position is set anew.
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(stored.start))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|error| wrong(path, &error.to_string()))?;
        let values = if stored.dtype == Dtype::BF16 {
            let values = bytes.chunks_exact(2);
            values
                .map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect()
        } else {
            let values = bytes.chunks_exact(4);
            values
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect()
        };
        Ok((values, &stored.shape))
    }
}

/// Returns the number of a file of encodings.
fn number(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("shard-")?
        .strip_suffix(".safetensors")?
        .parse()
        .ok()
}

pub(super) fn wrong(path: &Path, reason: &str) -> DataError {
    DataError::Cache {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

pub(super) fn missing(folder: &Path, key: &str) -> DataError {
    wrong(folder, &format!("`{key}` is in none of its files"))
}
