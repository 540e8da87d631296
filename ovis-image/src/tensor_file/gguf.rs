//! The header of a GGUF file (ggml's `docs/gguf.md`, versions 2 and 3). The tensors' names, shapes,
//! types and positions are kept, and the metadata's texts.

use std::collections::btree_map::Entry;
use std::path::Path;

use super::encoding::Encoding;
use super::header::{Metadata, TensorEntry, Tensors};
use crate::error::{OvisImageError, Result};

pub(crate) const MAGIC: &[u8] = b"GGUF";

const VERSIONS: std::ops::RangeInclusive<u32> = 2..=3;
const DEFAULT_ALIGNMENT: usize = 32;
const ALIGNMENT_KEY: &[u8] = b"general.alignment";
/// Largest number of axes, ggml's own limit.
const MAX_DIMENSIONS: usize = 4;
/// Deepest nesting of arrays in metadata. Files do not nest arrays in practice, and each level is a
/// recursive call.
const MAX_NESTING: usize = 4;

// Types of metadata values.
const U32: u32 = 4;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Reads a file's tensors and metadata.
pub(crate) fn read_header(path: &Path, bytes: &[u8]) -> Result<(Tensors, Metadata)> {
    Header { path, bytes, at: 0 }.read()
}

/// Reading position in the header.
struct Header<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

/// Header entry of a tensor.
struct TensorInfo {
    name: String,
    encoding: Encoding,
    shape: Vec<usize>,
    /// Offset in bytes from the beginning of the data.
    offset: usize,
}

impl<'a> Header<'a> {
    fn read(mut self) -> Result<(Tensors, Metadata)> {
        self.take(MAGIC.len(), "the magic")?;
        let version = self.u32("the version")?;
        if VERSIONS.contains(&version.swap_bytes()) {
            return Err(self.invalid("it is big-endian; convert it to little-endian"));
        }
        if !VERSIONS.contains(&version) {
            return Err(self.invalid(format!("its version {version} is not 2 or 3")));
        }
        let tensors = self.length("the number of tensors")?;
        let pairs = self.length("the number of metadata pairs")?;
        let mut alignment = DEFAULT_ALIGNMENT;
        let mut metadata = Metadata::new();
        for _ in 0..pairs {
            let key = self.string("a metadata key")?;
            let kind = self.u32("the type of a metadata value")?;
            if key == ALIGNMENT_KEY {
                if kind != U32 {
                    return Err(self.invalid("its general.alignment is not a u32"));
                }
                alignment = self.u32("the alignment")? as usize;
            } else if kind == STRING {
                let text = self.string("a metadata value")?;
                // Texts that are not UTF-8 are not needed.
                if let (Ok(key), Ok(text)) = (std::str::from_utf8(key), std::str::from_utf8(text)) {
                    metadata.insert(key.to_owned(), text.to_owned());
                }
            } else {
                self.skip_value(kind, MAX_NESTING)?;
            }
        }
        if !alignment.is_power_of_two() {
            return Err(self.invalid(format!("its alignment {alignment} is not a power of two")));
        }

        let mut infos = Vec::new();
        for _ in 0..tensors {
            infos.push(self.tensor_info()?);
        }
        let start = self
            .at
            .checked_next_multiple_of(alignment)
            .ok_or_else(|| self.invalid("its header is too long"))?;
        let mut entries = Tensors::new();
        for info in infos {
            let entry = self.place(&info, start, alignment)?;
            match entries.entry(info.name) {
                Entry::Vacant(vacant) => vacant.insert(entry),
                Entry::Occupied(there) => {
                    return Err(self.invalid(format!("tensor `{}` appears twice", there.key())));
                }
            };
        }
        self.check_overlaps(&entries)?;
        Ok((entries, metadata))
    }

    /// Checks that no two tensors share bytes. Otherwise a small file could claim a model of any
    /// size, with each tensor spanning the whole file.
    fn check_overlaps(&self, entries: &Tensors) -> Result<()> {
        let mut places: Vec<_> = entries
            .iter()
            .filter(|(_, entry)| !entry.range.is_empty())
            .map(|(name, entry)| (entry.range.start, entry.range.end, name))
            .collect();
        places.sort_unstable();
        for pair in places.windows(2) {
            let [(_, end, name), (begin, _, next)] = pair else {
                continue;
            };
            if end > begin {
                return Err(self.invalid(format!("tensors `{name}` and `{next}` overlap")));
            }
        }
        Ok(())
    }

    fn tensor_info(&mut self) -> Result<TensorInfo> {
        let name = self.string("a tensor's name")?;
        let Ok(name) = std::str::from_utf8(name) else {
            return Err(self.invalid("a tensor's name is not UTF-8"));
        };
        let name = name.to_owned();
        let dimensions = self.u32(&name)? as usize;
        if dimensions > MAX_DIMENSIONS {
            return Err(self.invalid(format!("tensor `{name}` has {dimensions} dimensions")));
        }
        // GGUF lists the fastest axis first; here it comes last.
        let mut shape = Vec::with_capacity(dimensions);
        for _ in 0..dimensions {
            let size = self.u64(&name)?;
            shape.push(usize::try_from(size).map_err(|_| {
                self.invalid(format!("tensor `{name}` has an axis of {size} elements"))
            })?);
        }
        shape.reverse();
        let encoding = encoding(self.u32(&name)?);
        let offset = self.u64(&name)?;
        let offset = usize::try_from(offset)
            .map_err(|_| self.invalid(format!("tensor `{name}` begins at byte {offset}")))?;
        Ok(TensorInfo {
            name,
            encoding,
            shape,
            offset,
        })
    }

    /// Locates a tensor's bytes in the file.
    fn place(&self, info: &TensorInfo, start: usize, alignment: usize) -> Result<TensorEntry> {
        let TensorInfo {
            name,
            encoding,
            shape,
            offset,
        } = info;
        let length = match encoding.block() {
            None => 0,
            Some(block) => encoding.bytes_of(shape).ok_or_else(|| {
                self.invalid(format!(
                    "tensor `{name}`: shape {shape:?} is not a whole number of {encoding} blocks of {} elements a row",
                    block.elements
                ))
            })?,
        };
        let range = start
            .checked_add(*offset)
            .and_then(|begin| Some(begin..begin.checked_add(length)?))
            .filter(|range| range.end <= self.bytes.len());
        let Some(range) = range else {
            return Err(self.invalid(format!(
                "tensor `{name}`: {length} bytes at {offset} of the data, but the file has {} (truncated?)",
                self.bytes.len().saturating_sub(start)
            )));
        };
        if !offset.is_multiple_of(alignment) {
            return Err(self.invalid(format!(
                "tensor `{name}` begins at byte {offset} of the data, which is not aligned to {alignment}"
            )));
        }
        Ok(TensorEntry {
            encoding: encoding.clone(),
            shape: shape.clone(),
            range,
        })
    }

    fn skip_value(&mut self, kind: u32, nesting: usize) -> Result<()> {
        const WHAT: &str = "a metadata value";
        match kind {
            STRING => {
                self.string(WHAT)?;
            }
            ARRAY => {
                let element = self.u32(WHAT)?;
                let length = self.length(WHAT)?;
                if nesting == 0 {
                    return Err(self.invalid("its metadata nests arrays too deeply"));
                }
                match scalar_size(element) {
                    Some(size) => {
                        let bytes = length.saturating_mul(size);
                        self.take(bytes, WHAT)?;
                    }
                    None => {
                        for _ in 0..length {
                            self.skip_value(element, nesting - 1)?;
                        }
                    }
                }
            }
            _ => match scalar_size(kind) {
                Some(size) => {
                    self.take(size, WHAT)?;
                }
                None => {
                    return Err(
                        self.invalid(format!("a metadata value has the unknown type {kind}"))
                    );
                }
            },
        }
        Ok(())
    }

    fn take(&mut self, length: usize, what: &str) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        match rest.get(..length) {
            Some(taken) => {
                self.at += length;
                Ok(taken)
            }
            None => Err(self.invalid(format!(
                "its header ends within {what} (truncated, or damaged)"
            ))),
        }
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    fn u32(&mut self, what: &str) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    fn u64(&mut self, what: &str) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// Reads a count of things that take at least a byte each, so at most as many as bytes are
    /// left.
    fn length(&mut self, what: &str) -> Result<usize> {
        let length = self.u64(what)?;
        let left = self.bytes.len() - self.at;
        usize::try_from(length)
            .ok()
            .filter(|length| *length <= left)
            .ok_or_else(|| {
                self.invalid(format!(
                    "its header claims {length} for {what}, but {left} bytes follow (truncated, or damaged)"
                ))
            })
    }

    fn string(&mut self, what: &str) -> Result<&'a [u8]> {
        let length = self.length(what)?;
        self.take(length, what)
    }

    fn invalid(&self, reason: impl Into<String>) -> OvisImageError {
        OvisImageError::invalid_file(self.path, "GGUF", reason.into())
    }
}

/// Returns the size of a metadata value of fixed size.
fn scalar_size(kind: u32) -> Option<usize> {
    match kind {
        // u8, i8, bool
        0 | 1 | 7 => Some(1),
        // u16, i16
        2 | 3 => Some(2),
        // u32, i32, f32
        4..=6 => Some(4),
        // u64, i64, f64
        10..=12 => Some(8),
        _ => None,
    }
}

/// Returns the encoding of one of ggml's type numbers.
fn encoding(kind: u32) -> Encoding {
    let name = match kind {
        0 => return Encoding::F32,
        1 => return Encoding::F16,
        2 => return Encoding::Q4_0,
        3 => return Encoding::Q4_1,
        6 => return Encoding::Q5_0,
        7 => return Encoding::Q5_1,
        8 => return Encoding::Q8_0,
        12 => return Encoding::Q4K,
        13 => return Encoding::Q5K,
        14 => return Encoding::Q6K,
        30 => return Encoding::BF16,
        10 => "Q2_K",
        11 => "Q3_K",
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        28 => "F64",
        29 => "IQ1_M",
        39 => "MXFP4",
        other => return Encoding::Other(format!("ggml type {other}")),
    };
    Encoding::Other(name.to_owned())
}
