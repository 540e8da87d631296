//! An upper bound of the memory that a checkpoint and a request take, before anything is loaded.

use serde::Serialize;

use super::DeviceMemory;
use super::footprint::Footprint;
use super::placed::Placed;
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::request::{GenerationRequest, LoadOptions, UpscaleMethod};
use crate::text_encoder::PREFIX_TOKENS;
use crate::weights::StoredParameter;

/// Upper bound of the memory that a checkpoint takes while a request runs, in bytes.
///
/// Where the device computes in the host's memory ([`DeviceMemory::Host`]), each phase counts the
/// whole process: the program and its tokenizer, weights (also those that are computed with in
/// their file, whose pages are then resident), quantized blocks, the copies of streamed blocks (two
/// at most), activations with the temporaries of the CPU's kernels, and what the allocator keeps of
/// freed activations. It follows flex; other CPU backends need more for attention.
///
/// Where the device has a memory of its own ([`DeviceMemory::Separate`]), each phase counts the
/// tensors in it, and [`host`](Self::host) what stays in the host's memory. What the driver, its
/// allocator and its kernels take comes on top.
///
/// LoRAs are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MemoryEstimate {
    /// Weights of the text encoder that stay on the device.
    pub text_encoder: u64,
    /// Weights of the transformer that stay on the device.
    pub transformer: u64,
    /// Weights of the VAE that stay on the device: its decoder.
    pub vae: u64,
    /// Weights that were rounded to blocks, in the host's memory.
    pub quantized: u64,
    /// Number of the transformer's blocks that are read or dequantized for each forward.
    pub streamed_blocks: usize,
    /// What stays in the host's memory on any device: the program, its tokenizer and quantized
    /// weights.
    pub host: u64,
    /// Peak while the checkpoint is loaded.
    pub loading: u64,
    /// Peak while prompts are encoded.
    pub text_encoding: u64,
    /// Peak while a source image, or an upscaled one, is encoded; 0 without one.
    pub image_encoding: u64,
    /// Peak while a step runs.
    pub denoising: u64,
    /// Peak while an image is decoded.
    pub vae_decoding: u64,
    /// The largest of the five.
    pub peak: u64,
}

impl MemoryEstimate {
    /// Estimates the memory that a checkpoint takes with these options while it serves a request.
    ///
    /// # Errors
    /// Returns [`CheckpointError::Weights`](crate::error::CheckpointError::Weights) if the checkpoint's
    /// tensors do not make up the models, and the other errors of its files.
    pub fn new(
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        request: &GenerationRequest,
        memory: DeviceMemory,
    ) -> Result<Self> {
        Ok(Parameters::of(checkpoint)?.estimate(checkpoint, options, request, memory))
    }

    /// Takes the larger peak of each phase of two passes.
    fn larger(self, other: Self) -> Self {
        Self {
            text_encoding: self.text_encoding.max(other.text_encoding),
            image_encoding: self.image_encoding.max(other.image_encoding),
            denoising: self.denoising.max(other.denoising),
            vae_decoding: self.vae_decoding.max(other.vae_decoding),
            peak: self.peak.max(other.peak),
            ..self
        }
    }
}

/// Pages of the program's code and data, the stacks of its threads, and the small objects of all
/// models: 14 MB of `generate` with CPU backends, 24 MB with those of GPUs, measured with the
/// embedded model.
const PROGRAM_BYTES: u64 = 24 << 20;

/// What the kernels keep for each thread: right-hand panels and sums of a product, scores and weights
/// of an attention, weights and products of a convolution, half a MiB each.
const THREAD_BYTES: u64 = 3 << 20;

/// Memory of a tokenizer for each byte of its file. Each token is in two hash maps, with its text
/// in each, and each merge in another: 66 MB for Qwen3's 151,643 tokens and 151,387 merges, whose
/// file has 11.4 MB.
const TOKENIZER_FACTOR: u64 = 6;

/// Freed memory that glibc's allocator keeps at the end of a heap at most: its trim threshold, twice
/// the largest allocation that it makes there.
const KEPT_BYTES: u64 = 64 << 20;

/// Allocations of so many bytes come from the system on their own and go back there.
const FROM_SYSTEM_BYTES: u64 = 32 << 20;

/// Pages that are mapped together around one that is read from a file.
const PAGES_AROUND: u64 = 64 << 10;

/// Steps whose modulation is computed at once (`pipeline/guided_model.rs`).
const MODULATED_STEPS: usize = 64;

/// The parameters of the three models, from the headers alone.
pub(super) struct Parameters {
    text_encoder: Vec<StoredParameter>,
    transformer: Vec<StoredParameter>,
    vae: Vec<StoredParameter>,
}

impl Parameters {
    pub(super) fn of(checkpoint: &Checkpoint) -> Result<Self> {
        Ok(Self {
            text_encoder: checkpoint.text_encoder.stored_parameters()?,
            transformer: checkpoint.transformer.stored_parameters()?,
            vae: checkpoint.vae.stored_parameters()?,
        })
    }

    pub(super) fn estimate(
        &self,
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        request: &GenerationRequest,
        memory: DeviceMemory,
    ) -> MemoryEstimate {
        let estimate = |request: &GenerationRequest, encodes_images| {
            self.estimate_pass(checkpoint, options, request, encodes_images, memory)
        };
        let first = estimate(request, request.source_image().is_some());
        let second_pass = request.parameters().second_pass;
        let alone = request.second_pass_alone(2 * checkpoint.vae.config.scale_factor());
        match second_pass.zip(alone) {
            Some((second_pass, alone)) => {
                let encodes_images = second_pass.upscale == UpscaleMethod::Image;
                first.larger(estimate(&alone, encodes_images))
            }
            None => first,
        }
    }

    fn estimate_pass(
        &self,
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        request: &GenerationRequest,
        encodes_images: bool,
        memory: DeviceMemory,
    ) -> MemoryEstimate {
        let config = &checkpoint.transformer.config;
        let (dtype, vae_dtype) = (options.dtype, options.resolved_vae_dtype());
        let text_encoder = Placed::new(&self.text_encoder, dtype, |parameter| {
            options.text_encoder_placement(parameter)
        });
        let transformer = Placed::new(&self.transformer, dtype, |parameter| {
            options.transformer_placement(config, parameter)
        });
        let vae = Placed::new(&self.vae, vae_dtype, |parameter| {
            options.vae_placement(parameter)
        });

        let parameters = request.parameters();
        let images = request.num_images().max(1);
        let guidance = &parameters.guidance;
        let guided = guidance.uses_negative_prompt();
        let branches = 1 + u64::from(guided) + u64::from(guidance.skip_layers.is_some());
        let footprint = Footprint {
            transformer: config,
            vae: &checkpoint.vae.config,
            width: parameters.width,
            height: parameters.height,
            images,
            text_tokens: parameters.max_sequence_length,
            dtype,
            vae_dtype,
            vae_tile: parameters.vae_tiling.map(|tiling| tiling.tile),
            memory,
        };
        // Both sides of guidance go through streamed blocks at once, unless each has its cache.
        let at_once = transformer.streamed > 0 && guided && parameters.step_cache.is_none();
        let forward = Footprint {
            images: if at_once {
                images.saturating_mul(2)
            } else {
                images
            },
            ..footprint
        };

        let quantized = text_encoder.quantized + transformer.quantized + vae.quantized;
        let program = PROGRAM_BYTES
            + THREAD_BYTES * threads()
            + TOKENIZER_FACTOR * checkpoint.tokenizer.bytes();
        let host = program + quantized;
        // What only a device that shares the host's memory counts.
        let shared = |bytes: u64| match memory {
            DeviceMemory::Host => bytes,
            DeviceMemory::Separate => 0,
        };
        let weights = text_encoder.device + transformer.device + vae.device;
        let resident = weights + shared(host);

        let parts = [&text_encoder, &transformer, &vae];
        let largest_load = parts.map(|part| part.loading).into_iter().max();
        let loading = resident + shared(largest_load.unwrap_or(0));

        // At most two copies of streamed blocks are alive, of one kind.
        let text_blocks = 2 * text_encoder.largest_single + shared(text_encoder.largest_read);
        let tokens = (PREFIX_TOKENS + parameters.max_sequence_length) as u64;
        let rows = (tokens * PAGES_AROUND).min(text_encoder.token_embedding);
        let text_encoding = resident
            + footprint.text_encoder_bytes(&checkpoint.text_encoder.config)
            + text_blocks
            + shared(rows);

        // Once read, the VAE's encoder stays.
        let encoder_activations =
            encodes_images.then(|| footprint.vae_encoder_bytes() + footprint.images_bytes());
        let (resident, image_encoding) = match encoder_activations {
            Some(activations) => {
                let resident = resident + vae.image_encoder;
                (resident, resident + shared(vae.largest_read) + activations)
            }
            None => (resident, 0),
        };

        let steps = match &parameters.custom_sigmas {
            Some(sigmas) => sigmas.len(),
            None => parameters.num_inference_steps,
        };
        let kept_in_loop = footprint.loop_bytes(branches, steps.min(MODULATED_STEPS));
        let cached = parameters
            .step_cache
            .map_or(0, |cache| footprint.step_cache_bytes(cache, branches));
        let packed_heads = forward.packed_heads_bytes();
        let double_block = forward.double_block_bytes() + 2 * transformer.largest_double;
        let single_block = forward.single_block_bytes()
            + forward.kept_from_double_blocks(KEPT_BYTES, FROM_SYSTEM_BYTES)
            + 2 * transformer.largest_single;
        let step = double_block.max(single_block) + packed_heads;
        let denoising = resident
            + kept_in_loop
            + cached
            + shared(transformer.largest_read)
            + step.max(transformer.largest_modulation);

        // Activations of the phases before, in the heap of the main thread and in those of the
        // threads that pack.
        let freed = forward
            .transformer_bytes()
            .max(encoder_activations.unwrap_or(0));
        let kept_by_allocator = shared(freed.min(KEPT_BYTES) + packed_heads.min(KEPT_BYTES));
        let decoding = footprint.vae_bytes() + footprint.image_planes_bytes();
        let vae_decoding = resident
            + kept_in_loop
            + cached
            + kept_by_allocator
            + decoding.max(footprint.images_bytes());

        let phases = [
            loading,
            text_encoding,
            image_encoding,
            denoising,
            vae_decoding,
        ];
        MemoryEstimate {
            text_encoder: text_encoder.device,
            transformer: transformer.device,
            vae: vae.device,
            quantized,
            streamed_blocks: transformer.streamed,
            host,
            loading,
            text_encoding,
            image_encoding,
            denoising,
            vae_decoding,
            peak: phases.into_iter().max().unwrap_or(0),
        }
    }
}

/// Threads that compute.
fn threads() -> u64 {
    std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64)
}
