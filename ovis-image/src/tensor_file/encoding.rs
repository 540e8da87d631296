use std::fmt;

/// Storage format of a tensor's elements in a file. The quantized formats are ggml's: elements
/// along a tensor's last axis form blocks that share their scales.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// bfloat16.
    BF16,
    /// 4 bits per element, one scale per 32 elements.
    Q4_0,
    /// 4 bits per element, one scale and one minimum per 32 elements.
    Q4_1,
    /// 5 bits per element, one scale per 32 elements.
    Q5_0,
    /// 5 bits per element, one scale and one minimum per 32 elements.
    Q5_1,
    /// 8 bits per element, one scale per 32 elements.
    Q8_0,
    /// 4 bits per element, two levels of scales and minima per 256 elements.
    Q4K,
    /// 5 bits per element, two levels of scales and minima per 256 elements.
    Q5K,
    /// 6 bits per element, two levels of scales per 256 elements.
    Q6K,
    /// Encoding that cannot be read as weights, with its name in the format.
    Other(String),
}

/// Unit of elements that are stored together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) elements: usize,
    pub(crate) bytes: usize,
}

impl Encoding {
    /// Returns whether weights can be read from this encoding.
    pub fn is_readable(&self) -> bool {
        !matches!(self, Self::Other(_))
    }

    /// Returns whether this is one of ggml's block formats.
    pub fn is_quantized(&self) -> bool {
        self.is_readable() && !matches!(self, Self::F32 | Self::F16 | Self::BF16)
    }

    /// Returns the encoding's block, a single element for plain formats; `None` if the encoding
    /// cannot be read.
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

    /// Returns the size of a tensor in bytes; `None` if its last axis is not a whole number of
    /// blocks, on overflow, or if the encoding cannot be read.
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
