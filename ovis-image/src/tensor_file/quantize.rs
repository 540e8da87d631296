//! Quantization of weights to ggml's blocks, as in its reference (`quantize_row_*_ref`).

use std::fmt;
use std::str::FromStr;

use half::f16;
use serde::{Deserialize, Serialize};

use super::dequantize;
use super::encoding::Encoding;
use crate::error::{OvisImageError, Result};

/// Format that weights are quantized to when they are loaded. Activations are not quantized: a
/// weight is dequantized when it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Quantization {
    /// 8 bits per element and an f16 scale for each 32: 8.5 bits per weight.
    #[serde(rename = "q8_0")]
    Q8_0,
    /// 4 bits per element and an f16 scale for each 32: 4.5 bits per weight.
    #[serde(rename = "q4_0")]
    Q4_0,
}

impl Quantization {
    /// Returns the encoding of the format's blocks.
    pub fn encoding(self) -> Encoding {
        match self {
            Self::Q8_0 => Encoding::Q8_0,
            Self::Q4_0 => Encoding::Q4_0,
        }
    }

    /// Returns the quantization whose blocks have the given encoding.
    pub(crate) fn of(encoding: &Encoding) -> Option<Self> {
        [Self::Q8_0, Self::Q4_0]
            .into_iter()
            .find(|quantization| quantization.encoding() == *encoding)
    }

    /// Quantizes elements, given as whole blocks, to the blocks' bytes; `None` if a scale exceeds
    /// the range of f16.
    pub(crate) fn quantize(self, elements: &[f32]) -> Option<Vec<u8>> {
        let encoding = self.encoding();
        let block = encoding.block()?.bytes;
        let mut bytes = Vec::with_capacity(elements.len() / BLOCK * block);
        for elements in elements.chunks_exact(BLOCK) {
            match self {
                Self::Q8_0 => q8_0(elements, &mut bytes),
                Self::Q4_0 => q4_0(elements, &mut bytes),
            }
        }
        bytes
            .chunks_exact(block)
            .all(|block| dequantize::scales_are_finite(&encoding, block))
            .then_some(bytes)
    }
}

/// Number of elements in a block of either format.
pub(crate) const BLOCK: usize = 32;

/// Returns `1 / d`, or 0 for a block of zeros.
fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

fn q8_0(block: &[f32], bytes: &mut Vec<u8>) {
    let largest = block.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let d = largest / 127.0;
    let inverse = inverse(d);
    bytes.extend(f16::from_f32(d).to_le_bytes());
    bytes.extend(block.iter().map(|x| (x * inverse).round() as i8 as u8));
}

fn q4_0(block: &[f32], bytes: &mut Vec<u8>) {
    // The first element of the largest magnitude, with its sign: it becomes -8 exactly.
    let extreme = block.iter().fold(
        0.0f32,
        |extreme, x| if x.abs() > extreme.abs() { *x } else { extreme },
    );
    let d = extreme / -8.0;
    let inverse = f64::from(inverse(d));
    // Computed in f64 as in the Python reference; ggml's result depends on whether the compiler
    // fuses.
    let level = |x: f32| ((f64::from(x) * inverse + 8.5) as u8).min(15);
    bytes.extend(f16::from_f32(d).to_le_bytes());
    let (first, second) = block.split_at(BLOCK / 2);
    bytes.extend(
        first
            .iter()
            .zip(second)
            .map(|(low, high)| level(*low) | (level(*high) << 4)),
    );
}

impl fmt::Display for Quantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
        })
    }
}

impl FromStr for Quantization {
    type Err = OvisImageError;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "q8_0" | "8bit" => Ok(Self::Q8_0),
            "q4_0" | "4bit" => Ok(Self::Q4_0),
            _ => Err(OvisImageError::argument(
                "quantization",
                format!("`{text}` is not one of q8_0 (8bit), q4_0 (4bit)"),
            )),
        }
    }
}
