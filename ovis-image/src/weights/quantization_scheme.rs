use crate::parameters::{BlockIndex, Parameter, ParameterRole};
use crate::tensor_file::Quantization;

/// Selection of the transformer's parameters to quantize, and their format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuantizationScheme {
    /// The format of the quantized weights.
    pub quantization: Quantization,
    /// Whether the double blocks keep their precision.
    pub protect_double_blocks: bool,
}

impl QuantizationScheme {
    /// Quantizes the matrices of all blocks.
    pub fn new(quantization: Quantization) -> Self {
        Self {
            quantization,
            protect_double_blocks: false,
        }
    }

    /// Sets whether the double blocks keep their precision.
    pub fn with_protected_double_blocks(mut self, protect: bool) -> Self {
        self.protect_double_blocks = protect;
        self
    }

    /// Returns whether a parameter is quantized: the matrices of blocks are, except their
    /// modulation, if their rows are a whole number of the format's blocks.
    pub fn quantizes(&self, parameter: &Parameter) -> bool {
        let chosen = match parameter.role {
            ParameterRole::BlockMatrix(BlockIndex::Single(_)) => true,
            ParameterRole::BlockMatrix(BlockIndex::Double(_)) => !self.protect_double_blocks,
            _ => false,
        };
        chosen && self.bytes_of(parameter).is_some()
    }

    /// Returns the size of a quantized parameter in bytes; `None` if its rows are not a whole
    /// number of blocks.
    pub(crate) fn bytes_of(&self, parameter: &Parameter) -> Option<u64> {
        let bytes = self.quantization.encoding().bytes_of(&parameter.shape)?;
        Some(bytes as u64)
    }
}
