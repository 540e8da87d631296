//! Files with tensors, memory-mapped. What a header claims is checked against the file before
//! anything is believed; the bytes of tensors stay on disk until asked for.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use memmap2::Mmap;

use super::encoding::Encoding;
use super::{gguf, safetensors};
use crate::error::{OvisImageError, Result};

/// The endings of files that hold weights.
pub(crate) const WEIGHT_FILE_ENDINGS: [&str; 2] = [".safetensors", ".gguf"];

/// One file and where its tensors lie.
#[derive(Debug)]
pub(crate) struct WeightsFile {
    path: PathBuf,
    /// `None` for a file that is part of the program.
    map: Option<Arc<Mmap>>,
    /// The whole file.
    bytes: Bytes,
    tensors: Tensors,
    /// What the file says of itself.
    metadata: Metadata,
}

/// Texts by name.
pub(super) type Metadata = BTreeMap<String, String>;

/// Tensors by name.
pub(super) type Tensors = BTreeMap<String, TensorEntry>;

/// Where a tensor lies and what it is.
#[derive(Debug, Clone)]
pub(crate) struct TensorEntry {
    pub(crate) encoding: Encoding,
    pub(crate) shape: Vec<usize>,
    /// Within the whole file, and within its bounds. Empty where the encoding's size is not known.
    pub(super) range: Range<usize>,
}

/// Keeps a file mapped for as long as bytes of it are in use.
struct MapOwner(Arc<Mmap>);

impl AsRef<[u8]> for MapOwner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl WeightsFile {
    /// Maps a file and checks its header. GGUF files are known by their first bytes.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        // Asked before opening, which waits where the other end of a pipe is not there.
        let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                OvisImageError::not_found(path, "a safetensors or GGUF file was expected here")
            }
            _ => OvisImageError::io(path, error),
        })?;
        if !metadata.is_file() {
            let reason = match metadata.is_dir() {
                true => "it is a folder",
                false => "it is a device or a pipe",
            };
            return Err(safetensors::invalid(path, reason));
        }
        let file = File::open(path).map_err(|error| OvisImageError::io(path, error))?;
        // An empty file cannot be mapped.
        if metadata.len() == 0 {
            return Err(safetensors::invalid(path, "it is empty (truncated?)"));
        }
        // SAFETY: the map is read-only and private to this struct. Another process that shrinks
        // the file meanwhile could fault it; no format avoids that without copying 15 GB.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file) }.map_err(|error| OvisImageError::io(path, error))?;
        let map = Arc::new(map);
        let bytes = Bytes::from_owner(MapOwner(Arc::clone(&map)));
        Self::parse(path.to_owned(), Some(map), bytes)
    }

    /// A file that is part of the program.
    pub(crate) fn from_static(name: &str, bytes: &'static [u8]) -> Result<Self> {
        Self::parse(PathBuf::from(name), None, Bytes::from_static(bytes))
    }

    fn parse(path: PathBuf, map: Option<Arc<Mmap>>, bytes: Bytes) -> Result<Self> {
        let (tensors, metadata) = match bytes.starts_with(gguf::MAGIC) {
            true => gguf::read_header(&path, &bytes)?,
            false => safetensors::read_header(&path, &bytes)?,
        };
        Ok(Self {
            path,
            map,
            bytes,
            tensors,
            metadata,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the whole file.
    pub(crate) fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// One of the texts that the file says of itself.
    pub(crate) fn metadata(&self, name: &str) -> Option<&str> {
        self.metadata.get(name).map(String::as_str)
    }

    pub(crate) fn tensors(&self) -> &BTreeMap<String, TensorEntry> {
        &self.tensors
    }

    /// The bytes of a tensor of this file, little-endian.
    pub(crate) fn data(&self, entry: &TensorEntry) -> &[u8] {
        &self.bytes[entry.range.clone()]
    }

    /// The same without a copy, for as long as they are needed: the file stays mapped meanwhile.
    pub(crate) fn shared_data(&self, entry: &TensorEntry) -> Bytes {
        self.bytes.slice(entry.range.clone())
    }

    /// Lets the system take back the pages of a tensor that was read; reading it again is possible
    /// and goes to the file. Without this a loaded model would count twice as resident.
    pub(crate) fn release(&self, entry: &TensorEntry) {
        #[cfg(unix)]
        if let Some(map) = &self.map {
            // SAFETY: the map is read-only and backed by its file, so that dropped pages come back
            // with the same bytes.
            #[allow(unsafe_code)]
            let released = unsafe {
                map.unchecked_advise_range(
                    memmap2::UncheckedAdvice::DontNeed,
                    entry.range.start,
                    entry.range.len(),
                )
            };
            if let Err(error) = released {
                tracing::debug!(%error, "the pages of a tensor stay resident");
            }
        }
        #[cfg(not(unix))]
        let _ = entry;
    }
}
