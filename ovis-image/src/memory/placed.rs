//! The bytes of a model's parameters, by where they are kept.

use std::collections::BTreeMap;

use crate::config::WeightDtype;
use crate::parameters::{BlockIndex, ParameterRole};
use crate::weights::{QuantizationScheme, Residency, StoredParameter};

const F32_BYTES: u64 = 4;

/// Bytes of a model's parameters.
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// On the device from loading on.
    pub(super) device: u64,
    /// Quantized weights in the host's memory, rounded to blocks.
    pub(super) quantized: u64,
    /// The largest double block that is read or dequantized for each forward.
    pub(super) largest_double: u64,
    /// The largest other block that is.
    pub(super) largest_single: u64,
    /// Number of such blocks.
    pub(super) streamed: usize,
    /// The largest modulation of one block that is read for an image.
    pub(super) largest_modulation: u64,
    /// The largest parameter in its file that is read for each forward: its pages count while they
    /// are read.
    pub(super) largest_read: u64,
    /// The part of the VAE that encodes images, if it is read when first used.
    pub(super) image_encoder: u64,
    /// The table of the tokens, in its file.
    pub(super) token_embedding: u64,
    /// What loading one parameter takes at most besides the parameter: the pages of its file, and
    /// the f32 that is rounded to blocks.
    pub(super) loading: u64,
}

impl Placed {
    pub(super) fn new(
        parameters: &[StoredParameter],
        dtype: WeightDtype,
        placement: impl Fn(&StoredParameter) -> Residency,
    ) -> Self {
        let mut placed = Self::default();
        let mut streamed = BTreeMap::<BlockIndex, u64>::new();
        for stored in parameters {
            let parameter = &stored.parameter;
            let bytes = parameter.elements().saturating_mul(dtype.bytes());
            let role = parameter.role;
            match placement(stored) {
                Residency::Device => {
                    placed.device += bytes;
                    placed.loading = placed.loading.max(stored.stored_bytes);
                    continue;
                }
                Residency::Quantized(quantization) => {
                    let scheme = QuantizationScheme::new(quantization);
                    let blocks = scheme.bytes_of(parameter).unwrap_or_default();
                    placed.quantized += blocks;
                    // The blocks are copied once.
                    let rounding = parameter.elements().saturating_mul(F32_BYTES) + 2 * blocks;
                    placed.loading = placed.loading.max(stored.stored_bytes + rounding);
                }
                Residency::File => {
                    if role != ParameterRole::TokenEmbedding {
                        placed.largest_read = placed.largest_read.max(stored.stored_bytes);
                    }
                }
            }
            match role {
                ParameterRole::Modulation => {
                    // A double block has two, which are read one after the other and dropped together.
                    placed.largest_modulation = placed.largest_modulation.max(2 * bytes);
                }
                ParameterRole::ImageEncoder => placed.image_encoder += bytes,
                ParameterRole::TokenEmbedding => placed.token_embedding += stored.stored_bytes,
                _ => {
                    if let Some(block) = role.block() {
                        *streamed.entry(block).or_default() += bytes;
                    }
                }
            }
        }
        placed.streamed = streamed.len();
        for (block, bytes) in streamed {
            let largest = match block {
                BlockIndex::Double(_) => &mut placed.largest_double,
                BlockIndex::Single(_) | BlockIndex::Text(_) => &mut placed.largest_single,
            };
            *largest = bytes.max(*largest);
        }
        placed
    }
}
