//! Peak memory of a request's activations, followed operation by operation through the models as
//! the CPU kernels run them.

use sysinfo::System;

use super::DeviceMemory;
use crate::config::{TextEncoderConfig, TransformerConfig, VaeConfig, WeightDtype};
use crate::error::{MemoryError, Result};
use crate::step_cache::StepCacheKind;
use crate::text_encoder::PREFIX_TOKENS;

/// Largest side of an image on any device, far above what the model was trained for.
pub(crate) const MAX_SIDE: usize = 16_384;

const MIB: u64 = 1 << 20;
const F32_BYTES: u64 = 4;

/// Bytes of an element in the panels of the CPU kernels. A bf16 element takes half of that on CPUs
/// that multiply bf16.
const PANEL_BYTES: u64 = 4;

/// Most bytes of transformed inputs that a 3x3 convolution keeps (`cpu/winograd/`).
const WINOGRAD_BYTES: u64 = 16 * MIB;

/// Properties of a request that determine its memory.
pub(crate) struct Footprint<'a> {
    pub(crate) transformer: &'a TransformerConfig,
    pub(crate) vae: &'a VaeConfig,
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) images: usize,
    /// Number of text tokens of each image.
    pub(crate) text_tokens: usize,
    /// Data type of the transformer and the text encoder.
    pub(crate) dtype: WeightDtype,
    pub(crate) vae_dtype: WeightDtype,
    /// Side of a tile if the VAE decodes in tiles.
    pub(crate) vae_tile: Option<usize>,
    pub(crate) memory: DeviceMemory,
}

impl Footprint<'_> {
    /// Returns the bytes of a text encoder block at its SwiGLU and of the projections of its
    /// attention.
    pub(crate) fn text_encoder_bytes(&self, config: &TextEncoderConfig) -> u64 {
        let queries = config.num_attention_heads * config.head_dim;
        let keys = config.num_key_value_heads * config.head_dim;
        let width = 4 * config.hidden_size + 3 * config.intermediate_size + 4 * queries + 6 * keys;
        product(&[PREFIX_TOKENS + self.text_tokens, width]).saturating_mul(self.dtype.bytes())
    }

    /// Returns the bytes of a double block's activations that the allocator keeps while a single
    /// block runs. The fused projection of the single block, if it is large, comes from the system
    /// and not out of these bytes.
    pub(crate) fn kept_from_double_blocks(&self, kept: u64, from_system: u64) -> u64 {
        let projection = self.hidden_states_bytes(
            (3 + 2 * TransformerConfig::MLP_RATIO).saturating_mul(self.tokens()),
        );
        let has_both = self.transformer.num_layers > 0 && self.transformer.num_single_layers > 0;
        if !has_both || projection < from_system || self.memory == DeviceMemory::Separate {
            return 0;
        }
        let reused = self.single_block_bytes().saturating_sub(projection);
        self.double_block_bytes().min(kept).saturating_sub(reused)
    }

    /// Returns the larger of the peaks of a double and a single block.
    pub(crate) fn transformer_bytes(&self) -> u64 {
        self.double_block_bytes().max(self.single_block_bytes())
    }

    /// Returns the peak of a double block: hidden states of both streams and the attention's
    /// output, then gate, up and SwiGLU of the image stream. On the CPU it includes the holes left
    /// by the norm of the image stream and its packed copy, into which none of those fit.
    pub(crate) fn double_block_bytes(&self) -> u64 {
        let holes = match self.memory {
            DeviceMemory::Host => 2,
            DeviceMemory::Separate => 0,
        };
        let of_image = 3 * TransformerConfig::MLP_RATIO + holes;
        self.hidden_states_bytes(2 * self.tokens() + of_image * self.image_tokens())
    }

    /// Returns the peak of a single block: the hidden states (1), their fused projection to q, k
    /// and v (3), up and gate (8), and then either q and k normalized (2) and the attention's
    /// output (1), or that output and SwiGLU's (4).
    pub(crate) fn single_block_bytes(&self) -> u64 {
        let inner = TransformerConfig::MLP_RATIO;
        match self.transformer.num_single_layers {
            0 => 0,
            _ => self.hidden_states_bytes((1 + 3 + 2 * inner + 1 + inner) * self.tokens()),
        }
    }

    /// Returns the bytes of packed keys and values. Other threads allocate them, so that their
    /// memory is not reused for the output of SwiGLU after them.
    pub(crate) fn packed_heads_bytes(&self) -> u64 {
        let hidden = self.transformer.hidden_size();
        match self.memory {
            DeviceMemory::Host => {
                product(&[2, self.images, self.tokens(), hidden]).saturating_mul(PANEL_BYTES)
            }
            DeviceMemory::Separate => 0,
        }
    }

    /// Returns the bytes that are kept while the steps run: prompts, latents, rotary tables, and
    /// the modulation of the steps.
    pub(crate) fn loop_bytes(&self, branches: u64, steps: usize) -> u64 {
        let config = self.transformer;
        // As they were encoded, and repeated for each image.
        let prompts = product(&[2, self.images, self.text_tokens, config.joint_attention_dim])
            .saturating_mul(self.dtype.bytes())
            .saturating_mul(branches);
        let rotary =
            product(&[2, self.tokens(), config.attention_head_dim]).saturating_mul(F32_BYTES);
        let modulated = 12 * config.num_layers + 3 * config.num_single_layers + 2;
        let modulation =
            product(&[modulated, config.hidden_size(), steps]).saturating_mul(self.dtype.bytes());
        // The noise, the latents before and after a step, predictions, packed and not.
        let latents = self.latents_bytes().saturating_mul(8);
        [prompts, rotary, modulation, latents]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// Returns the bytes that a step cache keeps from step to step, for this number of guidance
    /// branches.
    pub(crate) fn step_cache_bytes(&self, cache: StepCacheKind, branches: u64) -> u64 {
        let config = self.transformer;
        let of_token =
            cache.bytes_per_token(config.hidden_size(), config.in_channels, self.dtype.bytes());
        product(&[self.images, self.image_tokens()])
            .saturating_mul(of_token)
            .saturating_mul(branches)
    }

    /// Returns the peak of the decoder for one image or one tile. Images are decoded one at a time.
    pub(crate) fn vae_bytes(&self) -> u64 {
        let tile = |side: usize| side.min(self.vae_tile.unwrap_or(side));
        let scale = self.vae.scale_factor();
        let (width, height) = (tile(self.width) / scale, tile(self.height) / scale);
        let mut pixels = product(&[width, height]);
        let widths = &self.vae.block_out_channels;
        let mut previous = widths.last().copied().unwrap_or(1);
        let mut peak = self.vae_attention_bytes(pixels, previous);
        for (level, channels) in widths.iter().copied().enumerate().rev() {
            peak = peak.max(self.resnet_bytes(pixels, previous, channels));
            if level > 0 {
                peak = peak.max(self.upsample_bytes(pixels, channels));
                pixels = pixels.saturating_mul(4);
            }
            previous = channels;
        }
        peak
    }

    /// Returns the peak of the encoder, which does not use tiles.
    pub(crate) fn vae_encoder_bytes(&self) -> u64 {
        let mut pixels = product(&[self.width, self.height]);
        let widths = &self.vae.block_out_channels;
        let mut previous = widths.first().copied().unwrap_or(1);
        let mut peak = 0;
        for channels in widths.iter().copied() {
            let resnet = self.resnet_bytes(pixels, previous, channels);
            // A border is added, and a convolution with a stride runs in f32: its input, that in
            // another order, and its output.
            let downsample = product(&[channels])
                .saturating_mul(pixels)
                .saturating_mul(self.vae_dtype.bytes() + 2 * F32_BYTES + F32_BYTES / 2);
            peak = peak.max(resnet).max(downsample);
            pixels /= 4;
            previous = channels;
        }
        peak.max(self.vae_attention_bytes(pixels * 4, previous))
    }

    /// Returns the bytes of finished images as f32, held while another one is decoded.
    pub(crate) fn image_planes_bytes(&self) -> u64 {
        let plane = self.plane_bytes();
        let finished = plane.saturating_mul(self.images.saturating_sub(1) as u64);
        match self.vae_tile {
            // Rows of tiles that are done, and the one that is being made.
            Some(_) => finished.saturating_add(plane.saturating_mul(2)),
            None => finished,
        }
    }

    /// Returns the bytes of all images at the end: one by one, as one tensor, and downloaded.
    pub(crate) fn images_bytes(&self) -> u64 {
        let images = 3 * self.images as u64;
        self.plane_bytes().saturating_mul(images)
    }

    fn plane_bytes(&self) -> u64 {
        product(&[self.vae.out_channels, self.width, self.height]).saturating_mul(F32_BYTES)
    }

    fn latents_bytes(&self) -> u64 {
        let scale = self.vae.scale_factor();
        let (width, height) = (self.width / scale, self.height / scale);
        product(&[self.images, self.vae.latent_channels, width, height]).saturating_mul(F32_BYTES)
    }

    /// Returns the bytes of `tokens` tokens of every image, at the width of the hidden states.
    fn hidden_states_bytes(&self, tokens: usize) -> u64 {
        product(&[self.images, tokens, self.transformer.hidden_size()])
            .saturating_mul(self.dtype.bytes())
    }

    fn image_tokens(&self) -> usize {
        let scale = 2 * self.vae.scale_factor();
        (self.width / scale).saturating_mul(self.height / scale)
    }

    fn tokens(&self) -> usize {
        self.text_tokens.saturating_add(self.image_tokens())
    }

    /// Returns the bytes of a residual block's input, one of its norms, and a convolution's output.
    fn resnet_bytes(&self, pixels: u64, input: usize, output: usize) -> u64 {
        let channels = input + output + input.max(output);
        product(&[channels])
            .saturating_mul(pixels)
            .saturating_mul(self.vae_dtype.bytes())
            .saturating_add(self.convolution_bytes(input.max(output)))
    }

    /// Returns the bytes of upsampling to twice the size by nearest neighbors and of the
    /// convolution after it.
    fn upsample_bytes(&self, pixels: u64, channels: usize) -> u64 {
        let element = self.vae_dtype.bytes();
        let convolution = 8 * element;
        // Burn's flex enlarges bf16 as f32 and rounds the result.
        let enlarging = match (self.memory, self.vae_dtype) {
            (DeviceMemory::Host, WeightDtype::BF16) => element + 4 * F32_BYTES + 4 * element,
            _ => 5 * element,
        };
        product(&[channels])
            .saturating_mul(pixels)
            .saturating_mul(convolution.max(enlarging))
            .saturating_add(self.convolution_bytes(channels))
    }

    /// Returns the bytes of the VAE's attention: input, norm, one of them in rows and in panels, q,
    /// k, v and the output, and packed keys and values.
    fn vae_attention_bytes(&self, pixels: u64, channels: usize) -> u64 {
        let packed = match self.memory {
            DeviceMemory::Host => 2 * PANEL_BYTES,
            DeviceMemory::Separate => 0,
        };
        product(&[channels])
            .saturating_mul(pixels)
            .saturating_mul(8 * self.vae_dtype.bytes() + packed)
    }

    /// Returns the bytes of inputs transformed by Winograd's algorithm: panels of 32 tiles of 36
    /// points, at most 16.
    fn convolution_bytes(&self, channels: usize) -> u64 {
        match self.memory {
            DeviceMemory::Host => {
                let panels = product(&[16, 36, 32, channels + 1]).saturating_mul(F32_BYTES);
                panels.min(WINOGRAD_BYTES)
            }
            DeviceMemory::Separate => 0,
        }
    }

    /// Checks that the activations of a request fit the limit, and that the machine has enough free
    /// memory for the tensors that pass through it.
    pub(crate) fn check(&self, limit: Option<u64>) -> Result<()> {
        // The two phases do not overlap.
        let device = self.transformer_bytes().max(self.vae_bytes());
        let host = self
            .plane_bytes()
            .saturating_mul(2 * self.images as u64)
            .saturating_add(self.latents_bytes());
        let host = match self.memory {
            DeviceMemory::Host => device.saturating_add(host),
            DeviceMemory::Separate => host,
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

fn product(factors: &[usize]) -> u64 {
    factors.iter().fold(1u64, |product, factor| {
        product.saturating_mul(*factor as u64)
    })
}

/// Returns the free memory of the machine in bytes, or `None` if the system does not report it.
fn available_host_memory() -> Option<u64> {
    let mut system = System::new().ok()?;
    system.refresh_memory();
    let limit = system.cgroup_limits().map(|limits| limits.free_memory);
    Some(limit.unwrap_or(u64::MAX).min(system.available_memory())).filter(|bytes| *bytes > 0)
}
