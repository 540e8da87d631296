//! A lower bound of what a request's activations take, to refuse what cannot fit before the work.

use sysinfo::System;

use crate::config::{TransformerConfig, VaeConfig};
use crate::error::{OvisImageError, Result};
use crate::text_encoder::MAX_PROMPT_TOKENS;

/// Sides beyond this are refused on any device: far above what the model was trained for.
pub(super) const MAX_SIDE: usize = 16_384;

const MIB: u64 = 1 << 20;

/// What one request asks of memory.
pub(super) struct Footprint<'a> {
    pub(super) transformer: &'a TransformerConfig,
    pub(super) vae: &'a VaeConfig,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) images: usize,
    pub(super) element_bytes: u64,
    pub(super) vae_element_bytes: u64,
}

impl Footprint<'_> {
    /// Bytes at the peak of the larger of the two phases; they do not overlap.
    fn bytes(&self) -> u64 {
        self.transformer_bytes().max(self.vae_bytes())
    }

    /// A single block holds its input, the fused projection (11 times the width) and the joined
    /// output (5 times).
    fn transformer_bytes(&self) -> u64 {
        let scale = 2 * self.vae.scale_factor();
        let tokens = MAX_PROMPT_TOKENS + (self.width / scale) * (self.height / scale);
        let width = 1 + 3 + 3 * TransformerConfig::MLP_RATIO + 1;
        product(&[self.images, tokens, self.transformer.hidden_size(), width])
            .saturating_mul(self.element_bytes)
    }

    /// The decoder's widest level at full size: input, normalised input and output. Images are
    /// decoded one at a time.
    fn vae_bytes(&self) -> u64 {
        let channels = self.vae.block_out_channels.first().copied().unwrap_or(1);
        let pixels = product(&[self.width, self.height]);
        let decoded = product(&[self.images, 3])
            .saturating_mul(pixels)
            .saturating_mul(4);
        pixels
            .saturating_mul(3 * channels as u64)
            .saturating_mul(self.vae_element_bytes)
            .saturating_add(decoded)
    }

    /// Refuses a request that needs more than the limit.
    pub(super) fn check(&self, limit: Option<u64>) -> Result<()> {
        let needed = self.bytes();
        match limit {
            Some(limit) if needed > limit => Err(OvisImageError::TooLargeForMemory {
                width: self.width,
                height: self.height,
                images: self.images,
                needed_mib: needed.div_ceil(MIB),
                available_mib: limit / MIB,
            }),
            _ => Ok(()),
        }
    }
}

fn product(factors: &[usize]) -> u64 {
    factors.iter().fold(1u64, |product, factor| {
        product.saturating_mul(*factor as u64)
    })
}

/// The machine's memory in bytes, for backends that compute in it.
pub(super) fn host_memory() -> Option<u64> {
    let mut system = System::new().ok()?;
    system.refresh_memory();
    let limit = system.cgroup_limits().map(|limits| limits.total_memory);
    Some(limit.unwrap_or(u64::MAX).min(system.total_memory())).filter(|bytes| *bytes > 0)
}
