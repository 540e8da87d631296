use std::sync::Arc;

use burn::tensor::{DType, TensorData};

use super::names::{NameTable, Piece};
use crate::tensor_file::HostBuffer;
use crate::tensor_file::TensorSource;

/// A matrix that stays in its file: single rows are read on request. The release's embedding table
/// has 151,936 rows, of which a prompt needs at most 284.
#[derive(Debug, Clone)]
pub(crate) struct MappedRows {
    source: Arc<TensorSource>,
    /// Name of the tensor in the source.
    tensor: String,
    dtype: DType,
    shape: [usize; 2],
}

impl MappedRows {
    /// Opens the matrix of one of our parameters; `None` unless the source stores it as one whole
    /// tensor.
    pub(crate) fn new(
        source: &Arc<TensorSource>,
        table: &NameTable,
        path: &str,
        dtype: DType,
    ) -> Option<Self> {
        let pieces = table.pieces(path)?;
        let [Piece::Whole(normal)] = &pieces[..] else {
            return None;
        };
        let tensor = source
            .names()
            .find(|name| table.normalize(name).as_ref() == Some(normal))?
            .to_owned();
        let [rows, columns] = source.shape(&tensor)? else {
            return None;
        };
        Some(Self {
            source: Arc::clone(source),
            shape: [*rows, *columns],
            tensor,
            dtype,
        })
    }

    /// Reads the rows of `indices` in order, `[indices, columns]`; `None` if an index is out of
    /// bounds.
    pub(crate) fn gather(&self, indices: &[u32]) -> Option<TensorData> {
        let [rows, columns] = self.shape;
        let (file, entry) = self.source.entry(&self.tensor)?;
        let bytes = file.data(entry);
        let row_bytes = bytes.len() / rows.max(1);
        let mut buffer = HostBuffer::new(self.dtype, indices.len() * columns);
        for index in indices {
            let start = *index as usize * row_bytes;
            buffer.extend(bytes.get(start..start + row_bytes)?, &entry.encoding);
        }
        file.release(entry);
        Some(buffer.into_data(vec![indices.len(), columns]))
    }
}
