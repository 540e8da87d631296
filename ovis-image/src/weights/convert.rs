//! Little-endian bytes of a checkpoint to host elements of the dtype asked for.

use burn::tensor::{DType, TensorData};
use bytemuck::Pod;
use half::{bf16, f16};
use safetensors::Dtype;

/// The dtypes that weights may have on disk.
pub(super) fn is_readable(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

/// Whether a tensor's bytes on disk are those of `dtype` in memory.
pub(super) fn is_stored_as(on_disk: Dtype, dtype: DType) -> bool {
    matches!(
        (on_disk, dtype),
        (Dtype::F32, DType::F32) | (Dtype::F16, DType::F16) | (Dtype::BF16, DType::BF16)
    )
}

/// Collects pieces of a tensor in their target dtype; one allocation of the final size.
pub(super) enum HostBuffer {
    F32(Vec<f32>),
    F16(Vec<f16>),
    BF16(Vec<bf16>),
}

impl HostBuffer {
    /// A buffer for `elements` of `dtype`; every dtype but the two halves is read as f32.
    pub(super) fn new(dtype: DType, elements: usize) -> Self {
        match dtype {
            DType::F16 => Self::F16(Vec::with_capacity(elements)),
            DType::BF16 => Self::BF16(Vec::with_capacity(elements)),
            _ => Self::F32(Vec::with_capacity(elements)),
        }
    }

    /// Appends a piece; `source` must be readable.
    pub(super) fn extend(&mut self, bytes: &[u8], source: Dtype) {
        if cfg!(target_endian = "little") && self.copy(bytes, source) {
            return;
        }
        match self {
            Self::F32(values) => extend(values, bytes, source, |v| v, f16::to_f32, bf16::to_f32),
            Self::F16(values) => {
                extend(
                    values,
                    bytes,
                    source,
                    f16::from_f32,
                    |v| v,
                    |v| f16::from_f32(v.to_f32()),
                );
            }
            Self::BF16(values) => {
                extend(
                    values,
                    bytes,
                    source,
                    bf16::from_f32,
                    |v| bf16::from_f32(v.to_f32()),
                    |v| v,
                );
            }
        }
    }

    /// Appends a piece of the same dtype as it is; false if it is of another or not aligned.
    fn copy(&mut self, bytes: &[u8], source: Dtype) -> bool {
        fn copied<T: Pod>(values: &mut Vec<T>, bytes: &[u8]) -> bool {
            let same = bytemuck::try_cast_slice(bytes);
            if let Ok(same) = same {
                values.extend_from_slice(same);
            }
            same.is_ok()
        }
        match (self, source) {
            (Self::F32(values), Dtype::F32) => copied(values, bytes),
            (Self::F16(values), Dtype::F16) => copied(values, bytes),
            (Self::BF16(values), Dtype::BF16) => copied(values, bytes),
            _ => false,
        }
    }

    /// The collected elements as a tensor's data.
    pub(super) fn into_data(self, shape: Vec<usize>) -> TensorData {
        match self {
            Self::F32(values) => TensorData::new(values, shape),
            Self::F16(values) => TensorData::new(values, shape),
            Self::BF16(values) => TensorData::new(values, shape),
        }
    }
}

fn extend<T>(
    values: &mut Vec<T>,
    bytes: &[u8],
    source: Dtype,
    from_f32: impl Fn(f32) -> T,
    from_f16: impl Fn(f16) -> T,
    from_bf16: impl Fn(bf16) -> T,
) {
    let pairs = || {
        bytes
            .chunks_exact(2)
            .map(|b| u16::from_le_bytes([b[0], b[1]]))
    };
    match source {
        Dtype::F16 => values.extend(pairs().map(|bits| from_f16(f16::from_bits(bits)))),
        Dtype::BF16 => values.extend(pairs().map(|bits| from_bf16(bf16::from_bits(bits)))),
        _ => values.extend(
            bytes
                .chunks_exact(4)
                .map(|b| from_f32(f32::from_le_bytes([b[0], b[1], b[2], b[3]]))),
        ),
    }
}
