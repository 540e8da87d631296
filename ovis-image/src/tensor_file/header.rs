//! Contents of the header of a file of tensors, in any format.

use std::collections::BTreeMap;
use std::ops::Range;

use super::encoding::Encoding;

/// Metadata texts of a file, by name.
pub(super) type Metadata = BTreeMap<String, String>;

/// Tensors of a file, by name.
pub(super) type Tensors = BTreeMap<String, TensorEntry>;

/// Position of a tensor in its file, its shape and its encoding.
#[derive(Debug, Clone)]
pub(crate) struct TensorEntry {
    pub(crate) encoding: Encoding,
    pub(crate) shape: Vec<usize>,
    /// Byte range within the whole file, never out of bounds. Empty if the encoding's size is not
    /// known.
    pub(super) range: Range<usize>,
}
