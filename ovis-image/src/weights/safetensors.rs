//! One safetensors file, memory-mapped. The header is checked here before the safetensors crate
//! parses it, because its errors do not name the tensor at fault.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::error::{OvisImageError, Result};

const HEADER_LENGTH_BYTES: usize = 8;

/// A file's tensors by name; their bytes stay on disk until asked for.
#[derive(Debug)]
pub(super) struct SafetensorsFile {
    path: PathBuf,
    /// `None` for a file that is part of the program.
    map: Option<Arc<Mmap>>,
    /// The whole file.
    bytes: Bytes,
    tensors: BTreeMap<String, TensorEntry>,
}

/// Where a tensor lies and what it is.
#[derive(Debug, Clone)]
pub(super) struct TensorEntry {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// Within the whole file.
    range: Range<usize>,
}

/// Keeps a file mapped for as long as bytes of it are in use.
struct MapOwner(Arc<Mmap>);

impl AsRef<[u8]> for MapOwner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl SafetensorsFile {
    /// Maps a file and checks its header.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => OvisImageError::NotFound {
                path: path.to_owned(),
                hint: "a safetensors file was expected here".into(),
            },
            _ => OvisImageError::io(path, error),
        })?;
        let metadata = file
            .metadata()
            .map_err(|error| OvisImageError::io(path, error))?;
        if !metadata.is_file() {
            return Err(invalid(path, "it is a folder"));
        }
        if metadata.len() < HEADER_LENGTH_BYTES as u64 {
            return Err(invalid(
                path,
                "it is shorter than the 8 bytes that every file begins with (truncated?)",
            ));
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
    pub(super) fn from_static(name: &str, bytes: &'static [u8]) -> Result<Self> {
        Self::parse(PathBuf::from(name), None, Bytes::from_static(bytes))
    }

    fn parse(path: PathBuf, map: Option<Arc<Mmap>>, bytes: Bytes) -> Result<Self> {
        let header_length = check_header(&path, &bytes)?;
        let (_, metadata) = SafeTensors::read_metadata(&bytes)
            .map_err(|error| invalid(&path, error.to_string()))?;
        let data_start = HEADER_LENGTH_BYTES + header_length;
        let tensors = metadata
            .tensors()
            .into_iter()
            .map(|(name, info)| {
                let (begin, end) = info.data_offsets;
                let entry = TensorEntry {
                    dtype: info.dtype,
                    shape: info.shape.clone(),
                    range: data_start + begin..data_start + end,
                };
                (name, entry)
            })
            .collect();
        Ok(Self {
            path,
            map,
            bytes,
            tensors,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn tensors(&self) -> &BTreeMap<String, TensorEntry> {
        &self.tensors
    }

    /// The bytes of a tensor of this file, little-endian.
    pub(super) fn data(&self, entry: &TensorEntry) -> &[u8] {
        // Within bounds: `check_header` and the safetensors crate compared every range with the
        // file's length.
        &self.bytes[entry.range.clone()]
    }

    /// The same without a copy, for as long as they are needed: the file stays mapped meanwhile.
    pub(super) fn shared_data(&self, entry: &TensorEntry) -> Bytes {
        self.bytes.slice(entry.range.clone())
    }
}

impl SafetensorsFile {
    /// Lets the system take back the pages of a tensor that was read; reading it again is possible
    /// and goes to the file. Without this a loaded model would count twice as resident.
    pub(super) fn release(&self, entry: &TensorEntry) {
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

fn invalid(path: &Path, reason: impl Into<String>) -> OvisImageError {
    OvisImageError::InvalidFile {
        path: path.to_owned(),
        format: "safetensors",
        reason: reason.into(),
    }
}

/// Checks what the header claims against the file, naming the tensor at fault; returns the
/// header's length.
fn check_header(path: &Path, bytes: &[u8]) -> Result<usize> {
    let Some((length, rest)) = bytes.split_first_chunk::<HEADER_LENGTH_BYTES>() else {
        return Err(invalid(
            path,
            "it is shorter than the 8 bytes that every file begins with (truncated?)",
        ));
    };
    let length = u64::from_le_bytes(*length);
    let Some(length) = usize::try_from(length)
        .ok()
        .filter(|length| *length <= rest.len())
    else {
        return Err(invalid(
            path,
            format!(
                "its header claims {length} bytes, but {} follow (truncated, or not a safetensors file)",
                rest.len()
            ),
        ));
    };
    let (header, data) = rest.split_at(length);
    let header: serde_json::Map<String, Value> = serde_json::from_slice(header)
        .map_err(|error| invalid(path, format!("its header is not JSON: {error}")))?;

    for (name, entry) in header.iter().filter(|(name, _)| *name != "__metadata__") {
        check_entry(path, name, entry, data.len())?;
    }
    Ok(length)
}

fn check_entry(path: &Path, name: &str, entry: &Value, data_length: usize) -> Result<()> {
    let lies = |reason: String| Err(invalid(path, format!("tensor `{name}`: {reason}")));

    let dtype = entry
        .get("dtype")
        .and_then(Value::as_str)
        .unwrap_or("(none)");
    let Ok(known) = serde_json::from_value::<Dtype>(Value::from(dtype)) else {
        return Err(OvisImageError::UnknownDtype {
            path: path.to_owned(),
            tensor: name.to_owned(),
            dtype: dtype.to_owned(),
        });
    };
    let numbers = |key: &str| -> Option<Vec<usize>> {
        let array = entry.get(key)?.as_array()?;
        array
            .iter()
            .map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok()))
            .collect()
    };
    let (Some(shape), Some(offsets)) = (numbers("shape"), numbers("data_offsets")) else {
        return lies("its shape or data_offsets are not lists of whole numbers".into());
    };
    let [begin, end] = offsets[..] else {
        return lies("data_offsets does not have two numbers".into());
    };
    if begin > end || end > data_length {
        return lies(format!(
            "it claims bytes {begin} to {end}, but the file has {data_length} bytes of data (truncated?)"
        ));
    }
    let bits = shape
        .iter()
        .try_fold(known.bitsize(), |bits, size| bits.checked_mul(*size));
    if bits.map(|bits| bits.div_ceil(8)) != Some(end - begin) {
        return lies(format!(
            "shape {shape:?} of {dtype} does not fill the {} bytes that it claims",
            end - begin
        ));
    }
    Ok(())
}
