//! Writing of GGUF files, version 3: a header with all positions, then the tensors, each at a
//! multiple of the alignment (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use super::tensor::OutgoingTensor;
use super::{OnWritten, OutgoingFile};
use crate::checkpoint::open::CONFIG_METADATA;
use crate::error::{OvisImageError, Result};
use crate::tensor_file::Encoding;

const VERSION: u32 = 3;
const ALIGNMENT: usize = 32;
/// Types of metadata values.
const U32: u32 = 4;
const STRING: u32 = 8;

/// Writes a file; `on_written` receives the number of bytes of each tensor and may cancel.
pub(super) fn write(
    path: &Path,
    OutgoingFile {
        tensors, config, ..
    }: &OutgoingFile<'_>,
    on_written: &mut OnWritten<'_>,
) -> Result<()> {
    let io = |error| OvisImageError::io(path, error);
    let mut file = BufWriter::new(File::create(path).map_err(io)?);
    let header = header(tensors, config);
    file.write_all(&header).map_err(io)?;
    for tensor in tensors {
        let bytes = tensor.read()?;
        file.write_all(&bytes).map_err(io)?;
        file.write_all(&padding(bytes.len())).map_err(io)?;
        on_written(bytes.len() as u64)?;
    }
    file.flush()
        .and_then(|()| file.get_ref().sync_all())
        .map_err(io)
}

fn padding(length: usize) -> Vec<u8> {
    vec![0; length.next_multiple_of(ALIGNMENT) - length]
}

fn header(tensors: &[OutgoingTensor<'_>], config: &str) -> Vec<u8> {
    let mut header = b"GGUF".to_vec();
    header.extend(VERSION.to_le_bytes());
    header.extend((tensors.len() as u64).to_le_bytes());
    // ComfyUI's loader accepts architectures by name; this one belongs to FLUX's family.
    let texts = [
        ("general.architecture", "flux"),
        ("general.name", "Ovis-Image"),
        (CONFIG_METADATA, config),
    ];
    let numbers = [
        ("general.alignment", ALIGNMENT as u32),
        ("general.quantization_version", 2),
    ];
    header.extend(((texts.len() + numbers.len()) as u64).to_le_bytes());
    for (key, text) in texts {
        string(&mut header, key);
        header.extend(STRING.to_le_bytes());
        string(&mut header, text);
    }
    for (key, number) in numbers {
        string(&mut header, key);
        header.extend(U32.to_le_bytes());
        header.extend(number.to_le_bytes());
    }
    let mut offset = 0;
    for tensor in tensors {
        string(&mut header, &tensor.name);
        header.extend((tensor.shape.len() as u32).to_le_bytes());
        // ggml lists the innermost axis first.
        for size in tensor.shape.iter().rev() {
            header.extend((*size as u64).to_le_bytes());
        }
        header.extend(kind(&tensor.encoding).to_le_bytes());
        header.extend((offset as u64).to_le_bytes());
        offset += tensor.bytes().next_multiple_of(ALIGNMENT);
    }
    let gap = padding(header.len());
    header.extend(gap);
    header
}

fn string(header: &mut Vec<u8>, text: &str) {
    header.extend((text.len() as u64).to_le_bytes());
    header.extend(text.as_bytes());
}

/// Returns ggml's number of an encoding.
fn kind(encoding: &Encoding) -> u32 {
    match encoding {
        // Encodings that cannot be read are never written.
        Encoding::F32 | Encoding::Other(_) => 0,
        Encoding::F16 => 1,
        Encoding::Q4_0 => 2,
        Encoding::Q4_1 => 3,
        Encoding::Q5_0 => 6,
        Encoding::Q5_1 => 7,
        Encoding::Q8_0 => 8,
        Encoding::Q4K => 12,
        Encoding::Q5K => 13,
        Encoding::Q6K => 14,
        Encoding::BF16 => 30,
    }
}
