//! The header of a safetensors file. It is read here and not by the safetensors crate, whose errors
//! do not name the invalid tensor, and which allocates memory for whatever else a header contains.

use std::collections::btree_map::Entry;
use std::fmt;
use std::path::Path;

use safetensors::Dtype;
use serde::Deserialize;
use serde::de::value::{Error as ValueError, StrDeserializer};
use serde::de::{Deserializer, Error as _, IntoDeserializer, MapAccess, Visitor};

use super::encoding::Encoding;
use super::header::{Metadata, TensorEntry, Tensors};
use crate::error::{OvisImageError, Result};

const HEADER_LENGTH_BYTES: usize = 8;
/// Largest header in bytes, the format's own limit.
const MAX_HEADER_BYTES: usize = 100_000_000;
const METADATA: &str = "__metadata__";

/// Reads a file's tensors and metadata.
pub(crate) fn read_header(path: &Path, bytes: &[u8]) -> Result<(Tensors, Metadata)> {
    let (header, data) = split(path, bytes)?;
    let header: Header = serde_json::from_slice(header).map_err(|error| {
        let reason = if error.is_data() {
            "its header does not describe tensors"
        } else {
            "its header is not JSON"
        };
        OvisImageError::invalid_file_because(path, "safetensors", reason, error)
    })?;
    let data_start = bytes.len() - data.len();
    let mut tensors = Tensors::new();
    for (name, claim) in header.tensors {
        let entry = check_claim(path, &name, claim, data_start, data.len())?;
        match tensors.entry(name) {
            Entry::Vacant(vacant) => vacant.insert(entry),
            Entry::Occupied(there) => {
                let reason = format!("tensor `{}` appears twice", there.key());
                return Err(invalid(path, reason));
            }
        };
    }
    check_places(path, &tensors, data_start, bytes.len())?;
    Ok((tensors, header.metadata.unwrap_or_default()))
}

pub(crate) fn invalid(path: &Path, reason: impl Into<String>) -> OvisImageError {
    OvisImageError::invalid_file(path, "safetensors", reason.into())
}

/// Splits a file into its header and its data.
fn split<'a>(path: &Path, bytes: &'a [u8]) -> Result<(&'a [u8], &'a [u8])> {
    let Some((length, rest)) = bytes.split_first_chunk::<HEADER_LENGTH_BYTES>() else {
        return Err(invalid(
            path,
            "it is shorter than the 8 bytes that every file begins with (truncated?)",
        ));
    };
    let length = u64::from_le_bytes(*length);
    let parts = usize::try_from(length)
        .ok()
        .and_then(|length| rest.split_at_checked(length));
    let Some((header, data)) = parts else {
        return Err(invalid(
            path,
            format!(
                "its header claims {length} bytes, but {} follow (truncated, or not a safetensors file)",
                rest.len()
            ),
        ));
    };
    if header.len() > MAX_HEADER_BYTES {
        return Err(invalid(
            path,
            format!("its header has {length} bytes, more than the format's {MAX_HEADER_BYTES}"),
        ));
    }
    Ok((header, data))
}

/// Header in the order of the file; a name may appear twice.
struct Header {
    tensors: Vec<(String, Claim)>,
    metadata: Option<Metadata>,
}

/// Header entry of a tensor. Other fields are skipped without allocating memory.
#[derive(Deserialize)]
#[serde(expecting = "a dtype, a shape and data_offsets")]
struct Claim {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("tensors by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut tensors = Vec::new();
        let mut metadata = None;
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA {
                let texts: Option<Metadata> = map
                    .next_value()
                    .map_err(|error| A::Error::custom(format!("`{METADATA}`: {error}")))?;
                if metadata.replace(texts).is_some() {
                    return Err(A::Error::custom(format!("`{METADATA}` appears twice")));
                }
                continue;
            }
            let claim = map
                .next_value()
                .map_err(|error| A::Error::custom(format!("tensor `{name}`: {error}")))?;
            tensors.push((name, claim));
        }
        Ok(Header {
            tensors,
            metadata: metadata.flatten(),
        })
    }
}

/// Compares a tensor's header entry with the file.
fn check_claim(
    path: &Path,
    name: &str,
    claim: Claim,
    data_start: usize,
    data_length: usize,
) -> Result<TensorEntry> {
    let lies = |reason: String| Err(invalid(path, format!("tensor `{name}`: {reason}")));

    let Claim {
        dtype,
        shape,
        data_offsets: [begin, end],
    } = claim;
    let text: StrDeserializer<'_, ValueError> = dtype.as_str().into_deserializer();
    let Ok(known) = Dtype::deserialize(text) else {
        return Err(OvisImageError::unknown_dtype(path, name, dtype));
    };
    if begin > end || end > data_length {
        return lies(format!(
            "it claims bytes {begin} to {end}, but the file has {data_length} bytes of data (truncated?)"
        ));
    }
    let bits = shape
        .iter()
        .try_fold(known.bitsize(), |bits, size| bits.checked_mul(*size));
    // Elements smaller than a byte fill whole bytes together.
    if bits != (end - begin).checked_mul(8) {
        return lies(format!(
            "shape {shape:?} of {dtype} does not fill the {} bytes that it claims",
            end - begin
        ));
    }
    Ok(TensorEntry {
        encoding: match known {
            Dtype::F32 => Encoding::F32,
            Dtype::F16 => Encoding::F16,
            Dtype::BF16 => Encoding::BF16,
            other => Encoding::Other(format!("{other:?}")),
        },
        shape,
        // This is within bounds: the data ends where the file does.
        range: data_start + begin..data_start + end,
    })
}

/// Checks that the data has no gaps, as the format requires: tensors follow one another from the
/// beginning of the data to its end.
fn check_places(path: &Path, tensors: &Tensors, start: usize, end: usize) -> Result<()> {
    let mut places: Vec<_> = tensors
        .iter()
        .map(|(name, entry)| (entry.range.start, entry.range.end, name))
        .collect();
    places.sort_unstable();
    let mut filled = start;
    for (begin, end, name) in places {
        if begin != filled {
            return Err(invalid(
                path,
                format!(
                    "tensor `{name}` begins at byte {} of the data, but those before it end at {}",
                    begin - start,
                    filled - start
                ),
            ));
        }
        filled = end;
    }
    if filled != end {
        return Err(invalid(
            path,
            format!(
                "its tensors fill only {} of the {} bytes of data",
                filled - start,
                end - start
            ),
        ));
    }
    Ok(())
}
