use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{AllocationProperty, Bytes, DType, TensorData};

use super::names::Piece;
use crate::parameters::Parameter;
use crate::tensor_file::Encoding;
use crate::tensor_file::Quantization;
use crate::tensor_file::TensorSource;
use crate::tensor_file::{HostBuffer, is_stored_as};

/// Recipe of one parameter: pieces of a source's tensors, stacked along the first axis.
#[derive(Debug, Clone)]
pub(crate) struct TensorRecipe {
    pub(crate) parameter: Parameter,
    /// Pieces, by their names in the source.
    pub(crate) pieces: Vec<Piece<String>>,
}

/// A parameter in memory, stored in blocks.
#[derive(Debug, Clone)]
pub(super) struct QuantizedTensor {
    shape: Vec<usize>,
    encoding: Encoding,
    blocks: Arc<[u8]>,
}

/// Returns the byte range that a piece takes of a tensor of `length` bytes.
fn taken(piece: &Piece<String>, length: usize) -> Range<usize> {
    match piece {
        Piece::Whole(_) | Piece::Square(_) => 0..length,
        Piece::FirstHalf(_) => 0..length / 2,
        Piece::SecondHalf(_) => length / 2..length,
    }
}

impl TensorRecipe {
    fn shape(&self) -> &[usize] {
        &self.parameter.shape
    }

    /// Returns whether any piece is stored in blocks.
    pub(super) fn is_quantized(&self, source: &TensorSource) -> bool {
        self.pieces
            .iter()
            .filter_map(|piece| source.encoding(piece.name()))
            .any(Encoding::is_quantized)
    }

    /// Size of its pieces in the file, in bytes.
    pub(super) fn stored_bytes(&self, source: &TensorSource) -> u64 {
        let pieces = self.pieces.iter().filter_map(|piece| {
            let (file, entry) = source.entry(piece.name())?;
            Some(taken(piece, file.data(entry).len()).len() as u64)
        });
        pieces.sum()
    }

    /// Reads the tensor's elements in `dtype`.
    pub(super) fn read(&self, source: &TensorSource, dtype: DType) -> TensorData {
        self.collect(source, dtype).into_data(self.shape().to_vec())
    }

    fn collect(&self, source: &TensorSource, dtype: DType) -> HostBuffer {
        let mut buffer = HostBuffer::new(dtype, self.shape().iter().product());
        for piece in &self.pieces {
            if let Some((file, entry)) = source.entry(piece.name()) {
                let bytes = file.data(entry);
                buffer.extend(&bytes[taken(piece, bytes.len())], &entry.encoding);
                file.release(entry);
            }
        }
        buffer
    }

    /// Maps the tensor in its file; `None` if it has several pieces or another dtype, or is not
    /// aligned.
    pub(super) fn map(&self, source: &TensorSource, dtype: DType) -> Option<TensorData> {
        let [piece] = &self.pieces[..] else {
            return None;
        };
        let (file, entry) = source.entry(piece.name())?;
        let bytes = file.shared_data(entry);
        let bytes = bytes.slice(taken(piece, bytes.len()));
        let aligned = bytes.as_ptr().addr().is_multiple_of(dtype.size());
        if is_stored_as(&entry.encoding, dtype) && aligned && cfg!(target_endian = "little") {
            let bytes = Bytes::from_shared(bytes, AllocationProperty::File);
            return Some(TensorData::from_bytes(bytes, self.shape().to_vec(), dtype));
        }
        None
    }

    /// Quantizes the tensor; `None` if its rows are not a whole number of blocks, or its values are
    /// too large for their scales.
    pub(super) fn quantize(
        &self,
        source: &TensorSource,
        quantization: Quantization,
    ) -> Option<QuantizedTensor> {
        let encoding = quantization.encoding();
        encoding.bytes_of(self.shape())?;
        let elements = self.collect(source, DType::F32);
        Some(QuantizedTensor {
            shape: self.shape().to_vec(),
            encoding,
            blocks: quantization.quantize(elements.as_f32()?)?.into(),
        })
    }
}

impl QuantizedTensor {
    /// Dequantizes the tensor's elements to `dtype`.
    pub(super) fn read(&self, dtype: DType) -> TensorData {
        let mut buffer = HostBuffer::new(dtype, self.shape.iter().product());
        buffer.extend(&self.blocks, &self.encoding);
        buffer.into_data(self.shape.clone())
    }
}
