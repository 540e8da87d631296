//! The header of a safetensors file. It is checked here before the safetensors crate parses it,
//! because that crate's errors do not name the tensor at fault.

use std::path::Path;

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use super::{Metadata, TensorEntry, Tensors};
use crate::error::{OvisImageError, Result};
use crate::weights::encoding::Encoding;

const HEADER_LENGTH_BYTES: usize = 8;

/// The tensors of a file, and what it says of itself.
pub(super) fn read_header(path: &Path, bytes: &[u8]) -> Result<(Tensors, Metadata)> {
    let header_length = check_header(path, bytes)?;
    let (_, metadata) =
        SafeTensors::read_metadata(bytes).map_err(|error| invalid(path, error.to_string()))?;
    let data_start = HEADER_LENGTH_BYTES + header_length;
    let texts = metadata.metadata().iter().flatten();
    let texts = texts.map(|(name, text)| (name.clone(), text.clone()));
    let tensors = metadata
        .tensors()
        .into_iter()
        .map(|(name, info)| {
            // Within bounds: `check_header` compared every range with the file's length.
            let (begin, end) = info.data_offsets;
            let entry = TensorEntry {
                encoding: match info.dtype {
                    Dtype::F32 => Encoding::F32,
                    Dtype::F16 => Encoding::F16,
                    Dtype::BF16 => Encoding::BF16,
                    other => Encoding::Other(format!("{other:?}")),
                },
                shape: info.shape.clone(),
                range: data_start + begin..data_start + end,
            };
            (name, entry)
        })
        .collect();
    Ok((tensors, texts.collect()))
}

pub(super) fn invalid(path: &Path, reason: impl Into<String>) -> OvisImageError {
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
