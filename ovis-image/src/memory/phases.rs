//! Peak memory of the phases of one pass: resident weights, and the additional memory of each
//! phase.

use super::DeviceMemory;
use super::footprint::Footprint;
use super::placed::Placed;
use crate::config::TextEncoderConfig;
use crate::request::GenerationParameters;
use crate::text_encoder::PREFIX_TOKENS;

/// Most freed memory that glibc's allocator keeps at the end of a heap: its trim threshold, twice
/// the largest allocation that it makes there.
const KEPT_BYTES: u64 = 64 << 20;

/// Size from which an allocation comes directly from the system and returns there when freed.
const FROM_SYSTEM_BYTES: u64 = 32 << 20;

/// Bytes of pages that are mapped together around a page that is read from a file.
const PAGES_AROUND: u64 = 64 << 10;

/// Number of steps whose modulation is computed at once (`pipeline/guided_model.rs`).
const MODULATED_STEPS: usize = 64;

/// A pass of a request over placed models.
pub(super) struct Pass<'a> {
    pub(super) text_encoder: &'a Placed,
    pub(super) transformer: &'a Placed,
    pub(super) vae: &'a Placed,
    pub(super) text_config: &'a TextEncoderConfig,
    pub(super) parameters: &'a GenerationParameters,
    /// Footprint of the images of the pass.
    pub(super) footprint: Footprint<'a>,
    /// True if images are encoded before the first step.
    pub(super) encodes_images: bool,
    /// Bytes that stay in host memory on any device.
    pub(super) host: u64,
}

impl Pass<'_> {
    /// Returns `bytes` for a device that shares the host's memory, and 0 for any other.
    fn shared(&self, bytes: u64) -> u64 {
        match self.footprint.memory {
            DeviceMemory::Host => bytes,
            DeviceMemory::Separate => 0,
        }
    }

    /// Returns the weights that are resident from loading on.
    fn loaded(&self) -> u64 {
        let weights = self.text_encoder.device + self.transformer.device + self.vae.device;
        weights + self.shared(self.host)
    }

    /// Returns the weights that are resident when the first step begins. The VAE's encoder stays
    /// once it was read.
    fn resident(&self) -> u64 {
        let encoder = if self.encodes_images {
            self.vae.image_encoder
        } else {
            0
        };
        self.loaded() + encoder
    }

    /// Returns the activations of the VAE's encoder, if it runs.
    fn encoder_activations(&self) -> Option<u64> {
        let footprint = &self.footprint;
        self.encodes_images
            .then(|| footprint.vae_encoder_bytes() + footprint.images_bytes())
    }

    pub(super) fn loading(&self) -> u64 {
        let parts = [self.text_encoder, self.transformer, self.vae];
        let largest = parts.map(|part| part.loading).into_iter().max();
        self.loaded() + self.shared(largest.unwrap_or(0))
    }

    pub(super) fn text_encoding(&self) -> u64 {
        let text_encoder = self.text_encoder;
        // At most two copies of streamed blocks are alive, of one kind.
        let blocks = 2 * text_encoder.largest_single + self.shared(text_encoder.largest_read);
        let tokens = (PREFIX_TOKENS + self.parameters.max_sequence_length) as u64;
        let rows = (tokens * PAGES_AROUND).min(text_encoder.token_embedding);
        self.loaded()
            + self.footprint.text_encoder_bytes(self.text_config)
            + blocks
            + self.shared(rows)
    }

    pub(super) fn image_encoding(&self) -> u64 {
        self.encoder_activations().map_or(0, |activations| {
            self.resident() + self.shared(self.vae.largest_read) + activations
        })
    }

    pub(super) fn denoising(&self) -> u64 {
        let (transformer, forward) = (self.transformer, self.forward());
        let double_block = forward.double_block_bytes() + 2 * transformer.largest_double;
        let single_block = forward.single_block_bytes()
            + forward.kept_from_double_blocks(KEPT_BYTES, FROM_SYSTEM_BYTES)
            + 2 * transformer.largest_single;
        let step = double_block.max(single_block) + forward.packed_heads_bytes();
        self.resident()
            + self.kept_in_loop()
            + self.shared(transformer.largest_read)
            + step.max(transformer.largest_modulation)
    }

    pub(super) fn vae_decoding(&self) -> u64 {
        let (footprint, forward) = (&self.footprint, self.forward());
        // Activations of the phases before, in the heap of the main thread and in those of the
        // threads that pack.
        let freed = forward
            .transformer_bytes()
            .max(self.encoder_activations().unwrap_or(0));
        let packed_heads = forward.packed_heads_bytes();
        let kept_by_allocator = self.shared(freed.min(KEPT_BYTES) + packed_heads.min(KEPT_BYTES));
        let decoding = footprint.vae_bytes() + footprint.image_planes_bytes();
        self.resident()
            + self.kept_in_loop()
            + kept_by_allocator
            + decoding.max(footprint.images_bytes())
    }

    /// Returns the footprint of one forward pass of the transformer.
    fn forward(&self) -> Footprint<'_> {
        let is_guided = self.parameters.guidance.uses_negative_prompt();
        // Both sides of guidance go through streamed blocks at once, unless each has its cache.
        let at_once =
            self.transformer.streamed > 0 && is_guided && self.parameters.step_cache.is_none();
        let images = self.footprint.images;
        Footprint {
            images: if at_once {
                images.saturating_mul(2)
            } else {
                images
            },
            ..self.footprint
        }
    }

    /// Returns the bytes of tensors that the loop keeps from step to step, including step caches.
    fn kept_in_loop(&self) -> u64 {
        let parameters = self.parameters;
        let guidance = &parameters.guidance;
        let branches = 1
            + u64::from(guidance.uses_negative_prompt())
            + u64::from(guidance.skip_layers.is_some());
        let steps = match &parameters.custom_sigmas {
            Some(sigmas) => sigmas.len(),
            None => parameters.num_inference_steps,
        };
        let cached = parameters
            .step_cache
            .map_or(0, |cache| self.footprint.step_cache_bytes(cache, branches));
        self.footprint
            .loop_bytes(branches, steps.min(MODULATED_STEPS))
            + cached
    }
}
