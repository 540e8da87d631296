//! Writing of burnpack files, as burn-store reads them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use burn::tensor::DType;
use serde::Serialize;

use super::tensor::dtype_of;
use super::{OnWritten, OutgoingFile};
use crate::checkpoint::open::CONFIG_METADATA;
use crate::error::{OvisImageError, Result};
use crate::tensor_file::burnpack::{ALIGNMENT, FORMAT, MAGIC, VERSION, data_start};

/// Content between the fixed fields and the data, in CBOR.
#[derive(Serialize)]
struct Header<'a> {
    tensors: BTreeMap<&'a str, Descriptor<'a>>,
    metadata: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct Descriptor<'a> {
    dtype: DType,
    shape: &'a [usize],
    data_offsets: [usize; 2],
}

/// Writes a file; `on_written` receives the number of bytes of each tensor and may cancel.
pub(super) fn write(
    path: &Path,
    OutgoingFile {
        tensors, config, ..
    }: &OutgoingFile<'_>,
    on_written: &mut OnWritten<'_>,
) -> Result<()> {
    let io = |error| OvisImageError::io(path, error);
    let mut end = 0_usize;
    let descriptors = tensors.iter().map(|tensor| {
        let begin = end.next_multiple_of(ALIGNMENT);
        end = begin + tensor.bytes();
        let descriptor = Descriptor {
            dtype: dtype_of(&tensor.encoding),
            shape: &tensor.shape,
            data_offsets: [begin, end],
        };
        (tensor.name.as_str(), descriptor)
    });
    let header = Header {
        tensors: descriptors.collect(),
        metadata: BTreeMap::from([("format", "burnpack"), (CONFIG_METADATA, config)]),
    };
    let mut cbor = Vec::new();
    ciborium::into_writer(&header, &mut cbor).map_err(|error| {
        OvisImageError::invalid_file_because(path, FORMAT, "its header cannot be written", error)
    })?;
    let length = u32::try_from(cbor.len()).map_err(|error| {
        OvisImageError::invalid_file_because(path, FORMAT, "its header is too long", error)
    })?;

    let mut file = BufWriter::new(File::create(path).map_err(io)?);
    file.write_all(MAGIC).map_err(io)?;
    file.write_all(&VERSION.to_le_bytes()).map_err(io)?;
    file.write_all(&length.to_le_bytes()).map_err(io)?;
    file.write_all(&cbor).map_err(io)?;
    let written = MAGIC.len() + size_of_val(&VERSION) + size_of_val(&length) + cbor.len();
    file.write_all(&vec![0; data_start(cbor.len()) - written])
        .map_err(io)?;
    let mut position = 0_usize;
    for tensor in tensors {
        let begin = position.next_multiple_of(ALIGNMENT);
        file.write_all(&vec![0; begin - position]).map_err(io)?;
        let bytes = tensor.read()?;
        file.write_all(&bytes).map_err(io)?;
        position = begin + bytes.len();
        on_written(bytes.len() as u64)?;
    }
    file.flush()
        .and_then(|()| file.get_ref().sync_all())
        .map_err(io)
}
