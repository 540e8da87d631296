//! The header of a burnpack file, the format of burn-store: a magic number, a version, the
//! positions of the tensors in CBOR, then their data. It is read here and not by burn-store, whose
//! tensors cannot be shared between threads, and which trusts a shape without comparing it with its
//! bytes.

use std::fmt;
use std::path::Path;

use burn::tensor::DType;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::encoding::Encoding;
use super::header::{Metadata, TensorEntry, Tensors};
use crate::error::{OvisImageError, Result};

/// Name of the format in errors.
pub(crate) const FORMAT: &str = "burnpack";
/// First bytes of every file.
pub(crate) const MAGIC: &[u8] = b"NRUB";
/// Version of the format that is read and written.
pub(crate) const VERSION: u16 = 1;
/// Alignment of tensors: each begins at a multiple of this many bytes.
pub(crate) const ALIGNMENT: usize = 256;
/// Bytes of the magic number, the version and the length of the CBOR.
const FIXED_BYTES: usize = 10;

/// Offset of the data in a file whose CBOR has `cbor_length` bytes.
pub(crate) fn data_start(cbor_length: usize) -> usize {
    (FIXED_BYTES + cbor_length).next_multiple_of(ALIGNMENT)
}

/// Reads a file's tensors and metadata.
pub(super) fn read_header(path: &Path, bytes: &[u8]) -> Result<(Tensors, Metadata)> {
    let Some(([.., v0, v1, l0, l1, l2, l3], rest)) = bytes.split_first_chunk::<FIXED_BYTES>()
    else {
        return Err(invalid(path, "it ends within its header (truncated?)"));
    };
    let version = u16::from_le_bytes([*v0, *v1]);
    if version != VERSION {
        let reason = format!("its version is {version}, but only {VERSION} is supported");
        return Err(invalid(path, reason));
    }
    let length = u32::from_le_bytes([*l0, *l1, *l2, *l3]) as usize;
    let Some(cbor) = rest.get(..length) else {
        let reason = format!(
            "its header claims {length} bytes, but {} follow (truncated, or damaged)",
            rest.len()
        );
        return Err(invalid(path, reason));
    };
    let header: Header = ciborium::from_reader(cbor).map_err(|error| {
        OvisImageError::invalid_file_because(path, FORMAT, "its header is damaged", error)
    })?;

    // A file without tensors may end before its data would begin.
    let data_start = data_start(length).min(bytes.len());
    let data_length = bytes.len() - data_start;
    let mut tensors = Tensors::new();
    for (name, claim) in header.tensors {
        let entry = check_claim(path, &name, &claim, data_start, data_length)?;
        if tensors.insert(name.clone(), entry).is_some() {
            return Err(invalid(path, format!("tensor `{name}` appears twice")));
        }
    }
    check_overlaps(path, &tensors)?;
    Ok((tensors, header.metadata))
}

fn invalid(path: &Path, reason: impl Into<String>) -> OvisImageError {
    OvisImageError::invalid_file(path, FORMAT, reason)
}

#[derive(Deserialize)]
struct Header {
    #[serde(deserialize_with = "claims")]
    tensors: Vec<(String, Claim)>,
    #[serde(default)]
    metadata: Metadata,
}

/// Header entry of a tensor. Other fields are skipped.
#[derive(Deserialize)]
struct Claim {
    dtype: DType,
    #[serde(deserialize_with = "sizes")]
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

/// Deserializes tensors in the order of the file; a name may appear twice.
fn claims<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, Claim)>, D::Error> {
    struct Claims;

    impl<'de> Visitor<'de> for Claims {
        type Value = Vec<(String, Claim)>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("tensors by name")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut claims = Vec::new();
            while let Some(name) = map.next_key::<String>()? {
                let claim = map
                    .next_value()
                    .map_err(|error| A::Error::custom(format!("tensor `{name}`: {error}")))?;
                claims.push((name, claim));
            }
            Ok(claims)
        }
    }

    deserializer.deserialize_map(Claims)
}

/// Deserializes the sizes of axes. Allocates for those that are present, not for as many as are
/// claimed.
fn sizes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<usize>, D::Error> {
    struct Sizes;

    impl<'de> Visitor<'de> for Sizes {
        type Value = Vec<usize>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("sizes of axes")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            let mut sizes = Vec::new();
            while let Some(size) = sequence.next_element()? {
                sizes.push(size);
            }
            Ok(sizes)
        }
    }

    deserializer.deserialize_seq(Sizes)
}

/// Compares a tensor's header entry with the file.
fn check_claim(
    path: &Path,
    name: &str,
    claim: &Claim,
    data_start: usize,
    data_length: usize,
) -> Result<TensorEntry> {
    let lies = |reason: String| Err(invalid(path, format!("tensor `{name}`: {reason}")));
    let [begin, end] = claim.data_offsets;
    if begin > end || end > data_length {
        return lies(format!(
            "it claims bytes {begin} to {end}, but the file has {data_length} bytes of data (truncated?)"
        ));
    }
    let encoding = match claim.dtype {
        DType::F32 => Encoding::F32,
        DType::F16 => Encoding::F16,
        DType::BF16 => Encoding::BF16,
        other => Encoding::Other(format!("{other:?}")),
    };
    let shape = claim.shape.clone();
    // The size of other encodings is not known, and they are not read.
    if encoding.is_readable() && encoding.bytes_of(&shape) != Some(end - begin) {
        return lies(format!(
            "shape {shape:?} of {encoding} does not fill the {} bytes that it claims",
            end - begin
        ));
    }
    Ok(TensorEntry {
        encoding,
        shape,
        // This is within bounds: the data ends where the file does.
        range: data_start + begin..data_start + end,
    })
}

/// Checks that no two tensors share bytes.
fn check_overlaps(path: &Path, tensors: &Tensors) -> Result<()> {
    let mut places: Vec<_> = tensors
        .iter()
        .map(|(name, entry)| (entry.range.start, entry.range.end, name))
        .collect();
    places.sort_unstable();
    let mut filled = 0;
    for (begin, end, name) in places {
        if begin < filled {
            let reason = format!("tensor `{name}` overlaps the one before it");
            return Err(invalid(path, reason));
        }
        filled = end;
    }
    Ok(())
}
