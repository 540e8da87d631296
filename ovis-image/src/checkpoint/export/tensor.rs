//! A tensor to be written to a file.

use burn::tensor::DType;

use super::ExportOptions;
use super::merge::TensorUpdate;
use super::rows::{AssembledTensor, SourceRows};
use crate::config::WeightDtype;
use crate::error::{OvisImageError, Result};
use crate::parameters::Parameter;
use crate::tensor_file::Encoding;
use crate::tensor_file::HostBuffer;
use crate::tensor_file::Quantization;
use crate::tensor_file::TensorSource;

/// Description of a tensor to write, with its source.
pub(super) struct OutgoingTensor<'a> {
    source: &'a TensorSource,
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) encoding: Encoding,
    parameter: Parameter,
    rows: Vec<SourceRows>,
    /// LoRAs to merge.
    updates: Vec<TensorUpdate>,
}

impl<'a> OutgoingTensor<'a> {
    pub(super) fn new(source: &'a TensorSource, tensor: AssembledTensor) -> Self {
        Self {
            source,
            name: tensor.name,
            shape: tensor.shape,
            encoding: Encoding::F32,
            parameter: tensor.parameter,
            rows: tensor.rows,
            updates: Vec::new(),
        }
    }

    pub(super) fn merging(mut self, updates: Vec<TensorUpdate>) -> Self {
        self.updates = updates;
        self
    }

    pub(super) fn rename(mut self, rename: impl FnOnce(&str) -> String) -> Self {
        self.name = rename(&self.name);
        self
    }

    /// Appends axes of 1 to the shape of a matrix, so that it is a 1 x 1 convolution.
    pub(super) fn matrix_as_convolution(mut self) -> Self {
        if self.shape.len() == 2 {
            self.shape.extend([1, 1]);
        }
        self
    }

    /// Chooses the encoding in a safetensors file according to the options.
    pub(super) fn in_safetensors(mut self, options: &ExportOptions) -> Self {
        self.encoding = match (options.dtype, self.stored()) {
            (Some(dtype), _) => encoding_of(dtype),
            (None, Some(stored)) if !stored.is_quantized() => stored,
            (None, _) if self.is_quantized() => Encoding::BF16,
            (None, _) => Encoding::F32,
        };
        self
    }

    /// Chooses the encoding in a GGUF file according to the options.
    pub(super) fn in_gguf(self, options: &ExportOptions) -> Self {
        let encoding = match (options.quantization_scheme(), self.stored()) {
            _ if self.shape.len() == 1 => Encoding::F32,
            (Some(scheme), _) if scheme.quantizes(&self.parameter) => {
                scheme.quantization.encoding()
            }
            (_, Some(stored)) if stored.is_quantized() && self.can_be(&stored) => stored,
            _ => return self.in_safetensors(options),
        };
        Self { encoding, ..self }
    }

    /// Returns whether the tensor can be written in its quantized encoding: as it is, or quantized
    /// again after merging.
    fn can_be(&self, stored: &Encoding) -> bool {
        self.updates.is_empty() || Quantization::of(stored).is_some()
    }

    /// Returns the encoding of the source's rows; `None` if they differ.
    fn stored(&self) -> Option<Encoding> {
        let mut encodings = self
            .rows
            .iter()
            .map(|rows| self.source.encoding(&rows.tensor));
        let first = encodings.next()??;
        encodings
            .all(|other| other == Some(first))
            .then(|| first.clone())
    }

    fn is_quantized(&self) -> bool {
        let mut encodings = self
            .rows
            .iter()
            .map(|rows| self.source.encoding(&rows.tensor));
        encodings.any(|encoding| encoding.is_some_and(Encoding::is_quantized))
    }

    /// Returns the size in the file, in bytes.
    pub(super) fn bytes(&self) -> usize {
        // Every encoding that is chosen has a size for its shape.
        self.encoding.bytes_of(&self.shape).unwrap_or_default()
    }

    /// Reads and converts the bytes to write.
    pub(super) fn read(&self) -> Result<Vec<u8>> {
        self.source.check_unchanged()?;
        let pieces = || self.rows.iter().map(|rows| self.piece(rows));
        if self.stored().as_ref() == Some(&self.encoding) && self.updates.is_empty() {
            let mut bytes = Vec::with_capacity(self.bytes());
            for piece in pieces() {
                bytes.extend(piece?.1);
            }
            self.release();
            return Ok(bytes);
        }
        let elements = self.shape.iter().product();
        let collect = |dtype| -> Result<HostBuffer> {
            let mut buffer = HostBuffer::new(dtype, elements);
            for piece in pieces() {
                let (encoding, bytes) = piece?;
                buffer.extend(bytes, encoding);
            }
            Ok(buffer)
        };
        let dtype = dtype_of(&self.encoding);
        let buffer = if self.updates.is_empty() {
            collect(dtype)?
        } else {
            self.merged(collect(DType::F32)?, dtype)
        };
        self.release();
        let bytes = match (Quantization::of(&self.encoding), buffer.as_f32()) {
            _ if !buffer.is_finite() => None,
            (Some(quantization), Some(elements)) => quantization.quantize(elements),
            _ => Some(buffer.to_le_bytes()),
        };
        bytes.ok_or_else(|| {
            OvisImageError::argument(
                "dtype",
                format!(
                    "tensor `{}` has values that {} cannot represent: use bf16 or f32",
                    self.name, self.encoding
                ),
            )
        })
    }

    /// Merges the updates in f32 and rounds once.
    fn merged(&self, buffer: HostBuffer, dtype: DType) -> HostBuffer {
        let mut elements = buffer.as_f32().unwrap_or_default().to_vec();
        for update in &self.updates {
            update.add_to(&mut elements);
        }
        let bytes = elements.iter().flat_map(|value| value.to_le_bytes());
        let bytes: Vec<u8> = bytes.collect();
        let mut rounded = HostBuffer::new(dtype, elements.len());
        rounded.extend(&bytes, &Encoding::F32);
        rounded
    }

    fn piece(&self, rows: &SourceRows) -> Result<(&Encoding, &[u8])> {
        let missing = |reason: &str| {
            OvisImageError::invalid_file(
                self.source.path().to_owned(),
                "checkpoint",
                format!("tensor `{}`: {reason}", rows.tensor),
            )
        };
        let (file, entry) = self
            .source
            .entry(&rows.tensor)
            .ok_or_else(|| missing("it no longer exists"))?;
        let bytes = file.data(entry);
        // Blocks run along the last axis: each row of a matrix is a whole number of blocks, but an
        // element of a vector is not.
        if !bytes.len().is_multiple_of(rows.of) {
            return Err(missing("its rows are not whole blocks"));
        }
        let row = bytes.len() / rows.of;
        Ok((
            &entry.encoding,
            &bytes[rows.rows.start * row..rows.rows.end * row],
        ))
    }

    fn release(&self) {
        for rows in &self.rows {
            if let Some((file, entry)) = self.source.entry(&rows.tensor) {
                file.release(entry);
            }
        }
    }
}

fn encoding_of(dtype: WeightDtype) -> Encoding {
    match dtype {
        WeightDtype::F32 => Encoding::F32,
        WeightDtype::F16 => Encoding::F16,
        WeightDtype::BF16 => Encoding::BF16,
    }
}

/// Returns the dtype in which elements are collected before they are written.
pub(super) fn dtype_of(encoding: &Encoding) -> DType {
    match encoding {
        Encoding::F16 => DType::F16,
        Encoding::BF16 => DType::BF16,
        _ => DType::F32,
    }
}
