//! An upper bound of the memory that a checkpoint and a request take, before anything is loaded.

use serde::Serialize;

use super::DeviceMemory;
use super::footprint::Footprint;
use super::phases::Pass;
use super::placed::Placed;
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::request::{GenerationRequest, LoadOptions, UpscaleMethod};
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

    fn largest_phase(&self) -> u64 {
        self.loading
            .max(self.text_encoding)
            .max(self.image_encoding)
            .max(self.denoising)
            .max(self.vae_decoding)
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
/// models: 14 MB of `generate` with CPU backends and 24 MB with those of GPUs, measured with the
/// embedded model, and 4 to 12 MB more after the program was built, while the page cache holds its
/// file in larger pieces, which are mapped whole.
const PROGRAM_BYTES: u64 = 36 << 20;

/// What the kernels keep for each thread: right-hand panels and sums of a product, scores and weights
/// of an attention, weights and products of a convolution, half a MiB each.
const THREAD_BYTES: u64 = 3 << 20;

/// Memory of a tokenizer for each byte of its file. Each token is in two hash maps, with its text
/// in each, and each merge in another: 66 MB for Qwen3's 151,643 tokens and 151,387 merges, whose
/// file has 11.4 MB.
const TOKENIZER_FACTOR: u64 = 6;

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
        let quantized = text_encoder.quantized + transformer.quantized + vae.quantized;
        let program = PROGRAM_BYTES
            + THREAD_BYTES * threads()
            + TOKENIZER_FACTOR * checkpoint.tokenizer.bytes();
        let host = program + quantized;

        let parameters = request.parameters();
        let pass = Pass {
            text_encoder: &text_encoder,
            transformer: &transformer,
            vae: &vae,
            text_config: &checkpoint.text_encoder.config,
            parameters,
            footprint: Footprint {
                transformer: config,
                vae: &checkpoint.vae.config,
                width: parameters.width,
                height: parameters.height,
                images: request.num_images().max(1),
                text_tokens: parameters.max_sequence_length,
                dtype,
                vae_dtype,
                vae_tile: parameters.vae_tiling.map(|tiling| tiling.tile),
                memory,
            },
            encodes_images,
            host,
        };
        let estimate = MemoryEstimate {
            text_encoder: text_encoder.device,
            transformer: transformer.device,
            vae: vae.device,
            quantized,
            streamed_blocks: transformer.streamed,
            host,
            loading: pass.loading(),
            text_encoding: pass.text_encoding(),
            image_encoding: pass.image_encoding(),
            denoising: pass.denoising(),
            vae_decoding: pass.vae_decoding(),
            peak: 0,
        };
        MemoryEstimate {
            peak: estimate.largest_phase(),
            ..estimate
        }
    }
}

/// Threads that compute.
fn threads() -> u64 {
    std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64)
}
