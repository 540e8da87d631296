//! A lower bound of what a request's activations take, to refuse what cannot fit before the work.

use sysinfo::System;

use crate::config::{TransformerConfig, VaeConfig};
use crate::error::{MemoryError, Result};
use crate::step_cache::StepCacheKind;

/// Sides beyond this are refused on any device: far above what the model was trained for.
pub(crate) const MAX_SIDE: usize = 16_384;

const MIB: u64 = 1 << 20;

/// What one request asks of memory.
pub(crate) struct Footprint<'a> {
    pub(crate) transformer: &'a TransformerConfig,
    pub(crate) vae: &'a VaeConfig,
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) images: usize,
    /// Rows of text for each image.
    pub(crate) text_tokens: usize,
    pub(crate) element_bytes: u64,
    /// Side of a tile, where the VAE decodes in tiles.
    pub(crate) vae_tile: Option<usize>,
}

impl Footprint<'_> {
    /// Bytes of activations at the peak of the larger of the two phases; they do not overlap.
    fn device_bytes(&self) -> u64 {
        self.transformer_bytes().max(self.vae_bytes())
    }

    /// A single block holds its input, the fused projection (11 times the width) and the joined
    /// output (5 times).
    pub(crate) fn transformer_bytes(&self) -> u64 {
        let scale = 2 * self.vae.scale_factor();
        let tokens = self.text_tokens + (self.width / scale) * (self.height / scale);
        let width = 1 + 3 + 3 * TransformerConfig::MLP_RATIO + 1;
        product(&[self.images, tokens, self.transformer.hidden_size(), width])
            .saturating_mul(self.element_bytes)
    }

    /// The decoder's widest layer at full size, which is the second level's upsampled output: it,
    /// its normalization and the next output, in f32 where the norm is. Images are decoded one at a
    /// time.
    pub(crate) fn vae_bytes(&self) -> u64 {
        let channels = self
            .vae
            .block_out_channels
            .iter()
            .take(2)
            .max()
            .copied()
            .unwrap_or(1);
        let side = |side: usize| side.min(self.vae_tile.unwrap_or(side));
        product(&[3, channels, side(self.width), side(self.height), F32_BYTES])
    }

    /// The encoder's widest layer at full size, as [`vae_bytes`](Self::vae_bytes); it has no tiles.
    pub(crate) fn vae_encoder_bytes(&self) -> u64 {
        let channels = self.vae.block_out_channels.first().copied().unwrap_or(1);
        product(&[3, channels, self.width, self.height, F32_BYTES])
    }

    /// What a step cache keeps from step to step, for so many branches of guidance.
    pub(crate) fn step_cache_bytes(&self, cache: StepCacheKind, branches: u64) -> u64 {
        let scale = 2 * self.vae.scale_factor();
        let tokens = product(&[self.images, self.width / scale, self.height / scale]);
        let config = self.transformer;
        let of_token =
            cache.bytes_per_token(config.hidden_size(), config.in_channels, self.element_bytes);
        tokens.saturating_mul(of_token).saturating_mul(branches)
    }

    /// Bytes on the host: noise and pictures, in f32.
    fn host_bytes(&self) -> u64 {
        let pixels = product(&[self.images, 2 * 3, self.width, self.height, F32_BYTES]);
        let scale = self.vae.scale_factor();
        let latents = product(&[
            self.images,
            self.vae.latent_channels,
            self.width / scale,
            self.height / scale,
            F32_BYTES,
        ]);
        pixels.saturating_add(latents)
    }

    /// Refuses a request that needs more than the limit for its activations, or than the machine
    /// has free for what passes through it.
    pub(crate) fn check(&self, limit: Option<u64>, on_host: bool) -> Result<()> {
        let device = self.device_bytes();
        let host = match on_host {
            true => device.saturating_add(self.host_bytes()),
            false => self.host_bytes(),
        };
        for (needed, available) in [(device, limit), (host, available_host_memory())] {
            if let Some(available) = available.filter(|available| needed > *available) {
                return Err(MemoryError::TooLargeForMemory {
                    width: self.width,
                    height: self.height,
                    images: self.images,
                    needed_mib: needed.div_ceil(MIB),
                    available_mib: available / MIB,
                }
                .into());
            }
        }
        Ok(())
    }
}

const F32_BYTES: usize = 4;

fn product(factors: &[usize]) -> u64 {
    factors.iter().fold(1u64, |product, factor| {
        product.saturating_mul(*factor as u64)
    })
}

/// What the machine has free, in bytes; `None` where the system does not tell.
fn available_host_memory() -> Option<u64> {
    let mut system = System::new().ok()?;
    system.refresh_memory();
    let limit = system.cgroup_limits().map(|limits| limits.free_memory);
    Some(limit.unwrap_or(u64::MAX).min(system.available_memory())).filter(|bytes| *bytes > 0)
}
