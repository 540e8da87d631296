//! What the header of a file of tensors says, in any format.

use std::collections::BTreeMap;
use std::ops::Range;

use super::encoding::Encoding;

/// Texts that a file says about itself, by name.
pub(super) type Metadata = BTreeMap<String, String>;

/// Tensors of a file, by name.
pub(super) type Tensors = BTreeMap<String, TensorEntry>;

/// Position of a tensor in its file, its shape and its encoding.
#[derive(Debug, Clone)]
pub(crate) struct TensorEntry {
    pub(crate) encoding: Encoding,
    pub(crate) shape: Vec<usize>,
    /// Within the whole file, and within its bounds. Empty where the encoding's size is not known.
    pub(super) range: Range<usize>,
}
