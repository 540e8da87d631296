//! Conversion of a checkpoint's little-endian bytes to host elements of the requested dtype.

use burn::tensor::{DType, TensorData};
use bytemuck::Pod;
use half::{bf16, f16};

use super::dequantize::{self, MAX_BLOCK_ELEMENTS};
use super::encoding::Encoding;
use super::pages::Elements;

/// Returns whether a tensor's bytes on disk are those of `dtype` in memory.
pub(crate) fn is_stored_as(on_disk: &Encoding, dtype: DType) -> bool {
    matches!(
        (on_disk, dtype),
        (Encoding::F32, DType::F32) | (Encoding::F16, DType::F16) | (Encoding::BF16, DType::BF16)
    )
}

/// Collects pieces of a tensor in their target dtype, in one allocation of the final size, whose
/// pages are touched only once.
pub(crate) struct HostBuffer {
    values: Values,
    /// Number of elements collected so far.
    filled: usize,
}

enum Values {
    F32(Elements<f32>),
    F16(Elements<f16>),
    BF16(Elements<bf16>),
}

impl HostBuffer {
    /// Creates a buffer for `elements` of `dtype`; every dtype but the two half-precision ones is
    /// read as f32.
    pub(crate) fn new(dtype: DType, elements: usize) -> Self {
        Self {
            values: match dtype {
                DType::F16 => Values::F16(Elements::zeroed(elements)),
                DType::BF16 => Values::BF16(Elements::zeroed(elements)),
                _ => Values::F32(Elements::zeroed(elements)),
            },
            filled: 0,
        }
    }

    /// Appends a piece: whole blocks of a readable encoding, as many as there is room for.
    pub(crate) fn extend(&mut self, bytes: &[u8], source: &Encoding) {
        let from = self.filled;
        self.filled += match &mut self.values {
            Values::F32(values) => fill(&mut values[from..], bytes, source),
            Values::F16(values) => fill(&mut values[from..], bytes, source),
            Values::BF16(values) => fill(&mut values[from..], bytes, source),
        };
    }

    /// Returns the collected elements as a tensor's data.
    pub(crate) fn into_data(self, shape: Vec<usize>) -> TensorData {
        match self.values {
            Values::F32(values) => values.into_data(shape),
            Values::F16(values) => values.into_data(shape),
            Values::BF16(values) => values.into_data(shape),
        }
    }

    /// Returns whether all elements are finite.
    pub(crate) fn is_finite(&self) -> bool {
        match &self.values {
            Values::F32(values) => values.iter().all(|value| value.is_finite()),
            Values::F16(values) => values.iter().all(|value| value.is_finite()),
            Values::BF16(values) => values.iter().all(|value| value.is_finite()),
        }
    }

    /// Returns the collected elements as little-endian bytes.
    pub(crate) fn to_le_bytes(&self) -> Vec<u8> {
        if cfg!(target_endian = "little") {
            let bytes: &[u8] = match &self.values {
                Values::F32(values) => bytemuck::cast_slice(values),
                Values::F16(values) => bytemuck::cast_slice(values),
                Values::BF16(values) => bytemuck::cast_slice(values),
            };
            return bytes.to_vec();
        }
        match &self.values {
            Values::F32(values) => values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
            Values::F16(values) => values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
            Values::BF16(values) => values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect(),
        }
    }

    /// Returns the collected elements if the buffer's dtype is f32.
    pub(crate) fn as_f32(&self) -> Option<&[f32]> {
        match &self.values {
            Values::F32(values) => Some(values),
            Values::F16(_) | Values::BF16(_) => None,
        }
    }
}

/// Type of an element in memory.
trait Element: Pod + Send {
    /// Encoding with the same bytes.
    const STORED: Encoding;

    fn from_f32(value: f32) -> Self;
}

impl Element for f32 {
    const STORED: Encoding = Encoding::F32;

    fn from_f32(value: f32) -> Self {
        value
    }
}

impl Element for f16 {
    const STORED: Encoding = Encoding::F16;

    fn from_f32(value: f32) -> Self {
        f16::from_f32(value)
    }
}

impl Element for bf16 {
    const STORED: Encoding = Encoding::BF16;

    fn from_f32(value: f32) -> Self {
        bf16::from_f32(value)
    }
}

/// Number of elements for which another thread is worth starting; a multiple of every block.
const PER_THREAD: usize = 1 << 20;

/// Fills the beginning of `output`; returns how many elements the bytes contained.
fn fill<T: Element>(output: &mut [T], bytes: &[u8], source: &Encoding) -> usize {
    let Some(block) = source.block() else {
        return 0;
    };
    let elements = (bytes.len() / block.bytes * block.elements).min(output.len());
    let output = &mut output[..elements];
    if cfg!(target_endian = "little")
        && *source == T::STORED
        && let Ok(same) = bytemuck::try_cast_slice(bytes)
    {
        output.copy_from_slice(&same[..elements]);
        return elements;
    }

    let threads = match elements.div_ceil(PER_THREAD) {
        // Asking the system for the number of threads takes longer than converting a small tensor.
        0 | 1 => 1,
        shares => std::thread::available_parallelism().map_or(1, |all| shares.min(all.get())),
    };
    // Each thread converts whole blocks.
    let share = elements
        .div_ceil(threads)
        .next_multiple_of(block.elements)
        .max(block.elements);
    std::thread::scope(|scope| {
        let mut parts = output
            .chunks_mut(share)
            .zip(bytes.chunks(share / block.elements * block.bytes));
        let own = parts.next();
        for (output, bytes) in parts {
            scope.spawn(move || convert(output, bytes, source));
        }
        if let Some((output, bytes)) = own {
            convert(output, bytes, source);
        }
    });
    elements
}

/// Fills `output` from the same number of elements in whole blocks.
fn convert<T: Element>(output: &mut [T], bytes: &[u8], source: &Encoding) {
    let pairs = || {
        bytes
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
    };
    match source {
        Encoding::F32 => {
            for (output, four) in output.iter_mut().zip(bytes.chunks_exact(4)) {
                *output = T::from_f32(f32::from_le_bytes([four[0], four[1], four[2], four[3]]));
            }
        }
        Encoding::F16 => {
            for (output, bits) in output.iter_mut().zip(pairs()) {
                *output = T::from_f32(f16::from_bits(bits).to_f32());
            }
        }
        Encoding::BF16 => {
            for (output, bits) in output.iter_mut().zip(pairs()) {
                *output = T::from_f32(bf16::from_bits(bits).to_f32());
            }
        }
        _ => {
            let Some(block) = source.block() else {
                return;
            };
            let mut values = [0.0; MAX_BLOCK_ELEMENTS];
            let values = &mut values[..block.elements];
            for (output, bytes) in output
                .chunks_exact_mut(block.elements)
                .zip(bytes.chunks_exact(block.bytes))
            {
                dequantize::block(source, bytes, values);
                for (output, value) in output.iter_mut().zip(&*values) {
                    *output = T::from_f32(*value);
                }
            }
        }
    }
}
