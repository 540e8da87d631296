use std::fmt;

/// How a tensor's elements are stored in a file. The quantized ones are ggml's, in blocks along a
/// tensor's last axis that share their scales.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// Brain floats.
    BF16,
    /// 4 bits, a scale for 32.
    Q4_0,
    /// 4 bits, a scale and a minimum for 32.
    Q4_1,
    /// 5 bits, a scale for 32.
    Q5_0,
    /// 5 bits, a scale and a minimum for 32.
    Q5_1,
    /// 8 bits, a scale for 32.
    Q8_0,
    /// 4 bits, scales and minima in two levels for 256.
    Q4K,
    /// 5 bits, scales and minima in two levels for 256.
    Q5K,
    /// 6 bits, scales in two levels for 256.
    Q6K,
    /// One that cannot be read as weights, by its name in the format.
    Other(String),
}

/// A unit of elements that are stored together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) elements: usize,
    pub(crate) bytes: usize,
}

impl Encoding {
    /// Whether weights can be read from it.
    pub fn is_readable(&self) -> bool {
        !matches!(self, Self::Other(_))
    }

    /// Whether it is one of ggml's block formats.
    pub fn is_quantized(&self) -> bool {
        self.is_readable() && !matches!(self, Self::F32 | Self::F16 | Self::BF16)
    }

    /// Its block; a single element where there are none. `None` for one that cannot be read.
    pub(crate) fn block(&self) -> Option<Block> {
        let (elements, bytes) = match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::BF16 => (1, 2),
            Self::Q4_0 => (32, 18),
            Self::Q4_1 => (32, 20),
            Self::Q5_0 => (32, 22),
            Self::Q5_1 => (32, 24),
            Self::Q8_0 => (32, 34),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
            Self::Other(_) => return None,
        };
        Some(Block { elements, bytes })
    }

    /// Bytes of a tensor; `None` when its last axis is no whole number of blocks, on overflow, and
    /// for an encoding that cannot be read.
    pub(crate) fn bytes_of(&self, shape: &[usize]) -> Option<usize> {
        let block = self.block()?;
        let columns = shape.last().copied().unwrap_or(1);
        if !columns.is_multiple_of(block.elements) {
            return None;
        }
        shape
            .iter()
            .try_fold(1usize, |count, size| count.checked_mul(*size))
            .map(|count| count / block.elements)?
            .checked_mul(block.bytes)
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q4K => "Q4_K",
            Self::Q5K => "Q5_K",
            Self::Q6K => "Q6_K",
            Self::Other(name) => name,
        })
    }
}
