//! Memory-mapped files with tensors. Every claim of a header is checked against the file before it
//! is used; the bytes of tensors stay on disk until requested.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use memmap2::Mmap;

use super::header::{Metadata, TensorEntry, Tensors};
use super::small_file::other_than_file;
use super::{burnpack, gguf, safetensors};
use crate::error::{CheckpointError, OvisImageError, Result};

/// File endings of weights.
pub(crate) const WEIGHT_FILE_ENDINGS: [&str; 3] = [".safetensors", ".gguf", ".bpk"];

/// A weights file with the positions of its tensors.
#[derive(Debug)]
pub(crate) struct WeightsFile {
    path: PathBuf,
    /// `None` for a file that is embedded in the program.
    mapped: Option<Arc<MappedFile>>,
    /// Bytes of the whole file.
    bytes: Bytes,
    tensors: Tensors,
    /// Metadata texts of the file.
    metadata: Metadata,
}

/// A memory-mapped file, with its length and modification time when it was mapped.
#[derive(Debug)]
struct MappedFile {
    map: Mmap,
    /// Kept open for as long as it is mapped: the path may lead to another file by then.
    file: File,
    /// `None` if the file system does not record modification times.
    modified: Option<SystemTime>,
}

impl MappedFile {
    fn open(path: &Path) -> std::io::Result<Self> {
        let file = File::open(path)?;
        let modified = file.metadata()?.modified().ok();
        // SAFETY: this program alone cannot guarantee it. The slices made of the map are sound
        // while no process writes to the file or shortens it. No lock prevents that on every
        // system, and copying all weights to rule it out would cost twice their memory. It is
        // therefore the contract of everything that opens a file here, stated where a user chooses
        // (`LoadOptions::with_in_place`). Replacing or deleting the file is harmless: the mapped
        // file is the one that was opened, and it lives on. `check_unchanged` detects breaches of
        // the contract before the next read.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file) }?;
        Ok(Self {
            map,
            file,
            modified,
        })
    }

    /// Describes the change since the file was mapped, if there is one.
    fn change(&self) -> std::io::Result<Option<String>> {
        let metadata = self.file.metadata()?;
        let (was, is) = (self.map.len() as u64, metadata.len());
        if was != is {
            return Ok(Some(format!("its size changed from {was} to {is} bytes")));
        }
        let modified = metadata.modified().ok();
        Ok((modified != self.modified).then(|| "it was written to".to_owned()))
    }
}

/// Keeps a file mapped for as long as bytes of it are in use.
struct MapOwner(Arc<MappedFile>);

impl AsRef<[u8]> for MapOwner {
    fn as_ref(&self) -> &[u8] {
        &self.0.map
    }
}

impl WeightsFile {
    /// Maps a file and checks its header. GGUF and burnpack files are recognized by their first
    /// bytes.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        // Checked before opening, because opening a pipe waits for its other end.
        let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => OvisImageError::not_found(
                path,
                "a safetensors, GGUF or burnpack file was expected here",
            ),
            _ => OvisImageError::io(path, error),
        })?;
        if let Some(kind) = other_than_file(&metadata) {
            return Err(safetensors::invalid(path, format!("it is a {kind}")));
        }
        // An empty file cannot be mapped.
        if metadata.len() == 0 {
            return Err(safetensors::invalid(path, "it is empty (truncated?)"));
        }
        let mapped = MappedFile::open(path).map_err(|error| OvisImageError::io(path, error))?;
        let mapped = Arc::new(mapped);
        let bytes = Bytes::from_owner(MapOwner(Arc::clone(&mapped)));
        Self::parse(path.to_owned(), Some(mapped), bytes)
    }

    /// Opens a file that is embedded in the program.
    pub(crate) fn from_static(name: &str, bytes: &'static [u8]) -> Result<Self> {
        Self::parse(PathBuf::from(name), None, Bytes::from_static(bytes))
    }

    fn parse(path: PathBuf, mapped: Option<Arc<MappedFile>>, bytes: Bytes) -> Result<Self> {
        let (tensors, metadata) = if bytes.starts_with(gguf::MAGIC) {
            gguf::read_header(&path, &bytes)?
        } else if bytes.starts_with(burnpack::MAGIC) {
            burnpack::read_header(&path, &bytes)?
        } else {
            safetensors::read_header(&path, &bytes)?
        };
        Ok(Self {
            path,
            mapped,
            bytes,
            tensors,
            metadata,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that the file has the length and the modification time that it had when it was
    /// opened. Call this before reading bytes that may be gone.
    pub(crate) fn check_unchanged(&self) -> Result<()> {
        let Some(mapped) = &self.mapped else {
            return Ok(());
        };
        let change = mapped.change();
        match change.map_err(|error| OvisImageError::io(&self.path, error))? {
            None => Ok(()),
            Some(reason) => Err(OvisImageError::Checkpoint(CheckpointError::FileChanged {
                path: self.path.clone(),
                reason,
            })),
        }
    }

    /// Returns the size of the whole file in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Returns one of the file's metadata texts.
    pub(crate) fn metadata(&self, name: &str) -> Option<&str> {
        self.metadata.get(name).map(String::as_str)
    }

    /// Lists the file's metadata texts by name.
    pub(crate) fn all_metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        let texts = self.metadata.iter();
        texts.map(|(name, text)| (name.as_str(), text.as_str()))
    }

    pub(crate) fn tensors(&self) -> &Tensors {
        &self.tensors
    }

    /// Returns the little-endian bytes of a tensor of this file.
    pub(crate) fn data(&self, entry: &TensorEntry) -> &[u8] {
        &self.bytes[entry.range.clone()]
    }

    /// Like [`data`](Self::data), but shared: the file stays mapped for as long as the bytes are in
    /// use, and must not be written to or shortened meanwhile.
    pub(crate) fn shared_data(&self, entry: &TensorEntry) -> Bytes {
        self.bytes.slice(entry.range.clone())
    }

    /// Lets the system reclaim the pages of a tensor that was read; reading it again goes to the
    /// file. Without this, a loaded model would count twice as resident memory.
    pub(crate) fn release(&self, entry: &TensorEntry) {
        #[cfg(unix)]
        if let Some(mapped) = &self.mapped {
            // SAFETY: the map is read-only and backed by its file, so that dropped pages come back
            // with the same bytes, for as long as the file is unchanged (see `MappedFile::open`).
            #[allow(unsafe_code)]
            let released = unsafe {
                mapped.map.unchecked_advise_range(
                    memmap2::UncheckedAdvice::DontNeed,
                    entry.range.start,
                    entry.range.len(),
                )
            };
            if let Err(error) = released {
                tracing::debug!(%error, "the pages of a tensor could not be released");
            }
        }
        #[cfg(not(unix))]
        let _ = entry;
    }
}
