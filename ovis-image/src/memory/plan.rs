//! Fitting a checkpoint and a request into a device's memory before anything is loaded.

use std::collections::BTreeMap;

use burn::tensor::backend::Backend;
use serde::Serialize;

use super::footprint::Footprint;
use crate::checkpoint::Checkpoint;
use crate::config::WeightDtype;
use crate::error::{MemoryError, Result};
use crate::kernels::BackendInfo;
use crate::parameters::BlockIndex;
use crate::request::GenerationRequest;
use crate::request::LoadOptions;
use crate::vae::VaeTiling;
use crate::weights::{QuantizationScheme, Residency, StoredParameter};

/// What of a checkpoint takes how much memory on its device while a request runs, in bytes. Weights
/// are counted exactly, activations by a lower bound of their peak; what the backend's allocator
/// and kernels take comes on top.
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
    /// How many of the transformer's blocks are read or widened for each forward.
    pub streamed_blocks: usize,
    /// All that is on the device while prompts are encoded.
    pub text_encoding: u64,
    /// All that is on the device while a source image is encoded; 0 without one.
    pub image_encoding: u64,
    /// All that is on the device while a step runs.
    pub denoising: u64,
    /// All that is on the device while an image is decoded.
    pub vae_decoding: u64,
    /// The largest of the four.
    pub peak: u64,
}

/// Options and a request that fit into a limit.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MemoryPlan {
    /// How to load the checkpoint.
    pub options: LoadOptions,
    /// What to ask of it.
    pub request: GenerationRequest,
    /// What that takes.
    pub estimate: MemoryEstimate,
}

/// The tiles to decode in, the larger ones first.
const TILES: [usize; 2] = [512, 256];

impl MemoryPlan {
    /// Changes options and request, as little as it takes, until their estimate is within `limit`
    /// bytes: the text encoder stays in its file, then the modulation's weights, then as many of the
    /// transformer's blocks as must; images are decoded in tiles.
    ///
    /// # Errors
    /// [`MemoryError::MemoryLimit`] when nothing of that is enough, with what would be;
    /// [`CheckpointError::Weights`](crate::error::CheckpointError::Weights) when the checkpoint's
    /// tensors do not make up the models.
    pub fn fit<B: Backend>(
        checkpoint: &Checkpoint,
        options: LoadOptions,
        request: GenerationRequest,
        limit: u64,
    ) -> Result<Self> {
        let parameters = Parameters::of::<B>(checkpoint)?;
        let plan = Self::squeezed(&parameters, checkpoint, options, request, limit);
        if plan.estimate.peak <= limit {
            return Ok(plan);
        }
        Err(MemoryError::MemoryLimit {
            limit_mib: limit >> 20,
            needed_mib: plan.estimate.peak.div_ceil(1 << 20),
            hint: plan.hint(&parameters, checkpoint, limit),
        }
        .into())
    }

    /// As much saved as it takes, or all that can be.
    fn squeezed(
        parameters: &Parameters,
        checkpoint: &Checkpoint,
        options: LoadOptions,
        request: GenerationRequest,
        limit: u64,
    ) -> Self {
        let mut plan = Self {
            estimate: parameters.estimate(checkpoint, &options, &request),
            options,
            request,
        };
        while plan.estimate.peak > limit && plan.save(checkpoint, limit) {
            plan.estimate = parameters.estimate(checkpoint, &plan.options, &plan.request);
        }
        plan
    }

    /// Takes the next step down; false when there is none left.
    fn save(&mut self, checkpoint: &Checkpoint, limit: u64) -> bool {
        let config = &checkpoint.transformer.config;
        let blocks = config.num_layers + config.num_single_layers;
        let (width, height) = self.request.size();
        let tile = self
            .request
            .parameters()
            .vae_tiling
            .map_or(usize::MAX, |tiling| tiling.tile);
        let smaller = TILES
            .into_iter()
            .find(|side| *side < tile && *side < width.max(height));
        let decoding_alone =
            self.estimate.denoising <= limit && self.estimate.text_encoding <= limit;
        let options = &mut self.options;
        // What leaves the image as it is comes first, unless it costs time at each step.
        if options.text_encoder_residency == Residency::Device {
            options.text_encoder_residency = Residency::File;
        } else if options.modulation_residency == Residency::Device {
            options.modulation_residency = Residency::File;
        } else if let Some(side) = smaller.filter(|_| decoding_alone) {
            self.request = self.request.clone().with_vae_tiling(VaeTiling::new(side));
        } else if options.streamed_blocks < blocks && self.estimate.streamed_blocks < blocks {
            options.streamed_blocks += 1;
        } else if let Some(side) = smaller {
            self.request = self.request.clone().with_vae_tiling(VaeTiling::new(side));
        } else {
            return false;
        }
        true
    }

    /// The setting that would still help, found by trying: another dtype, fewer images, smaller
    /// ones, then all of them.
    fn hint(&self, parameters: &Parameters, checkpoint: &Checkpoint, limit: u64) -> String {
        let peak_with = |dtype: WeightDtype, images: usize, (width, height): (usize, usize)| {
            let options = self.options.with_dtype(dtype);
            let request = self.request.clone().with_images_per_prompt(images);
            let request = request.with_size(width, height);
            Self::squeezed(parameters, checkpoint, options, request, limit)
                .estimate
                .peak
        };
        let (width, height) = self.request.size();
        let images = self.request.parameters().images_per_prompt;
        let dtype = self.options.dtype;
        let half = match dtype {
            WeightDtype::F32 => WeightDtype::BF16,
            other => other,
        };
        let multiple = 2 * checkpoint.vae.config.scale_factor();
        let part =
            |side: usize, eighths: usize| (side * eighths / 8 / multiple * multiple).max(multiple);
        let sizes = (1..8)
            .rev()
            .map(|eighths| (part(width, eighths), part(height, eighths)));
        let candidates = [(half, images, (width, height)), (half, 1, (width, height))];
        let smaller = sizes.map(|size| (half, 1, size));
        let mut least = self.estimate.peak;
        for (dtype, images, size) in candidates.into_iter().chain(smaller) {
            let peak = peak_with(dtype, images, size);
            least = least.min(peak);
            if peak <= limit {
                return self.difference(dtype, images, size);
            }
        }
        format!(
            "No setting makes this fit: one image of {}x{} would still need {} MiB",
            part(width, 1),
            part(height, 1),
            least.div_ceil(1 << 20)
        )
    }

    /// What to set otherwise.
    fn difference(&self, dtype: WeightDtype, images: usize, size: (usize, usize)) -> String {
        let mut changes = Vec::new();
        if dtype != self.options.dtype {
            changes.push(format!("{dtype} weights"));
        }
        if images != self.request.parameters().images_per_prompt {
            changes.push("one image at a time".to_owned());
        }
        let (width, height) = size;
        if size != self.request.size() {
            changes.push(format!("{width}x{height} pixels"));
        }
        format!("It fits with {}", changes.join(", "))
    }
}

impl MemoryEstimate {
    /// Of a checkpoint with its options and a request.
    ///
    /// # Errors
    /// [`CheckpointError::Weights`](crate::error::CheckpointError::Weights) when the
    /// checkpoint's tensors do not make up the models, and the other errors of its files.
    pub fn new<B: Backend>(
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        request: &GenerationRequest,
    ) -> Result<Self> {
        Ok(Parameters::of::<B>(checkpoint)?.estimate(checkpoint, options, request))
    }
}

/// The parameters of the three models, from the headers alone.
struct Parameters {
    /// Whether the device computes in the host's memory.
    on_host: bool,
    text_encoder: Vec<StoredParameter>,
    transformer: Vec<StoredParameter>,
    vae: Vec<StoredParameter>,
}

/// Bytes of a model by where they are.
#[derive(Default)]
struct Placed {
    device: u64,
    quantized: u64,
    /// The largest block that is read for each forward, and how many there are.
    largest_streamed: u64,
    streamed: usize,
}

impl Parameters {
    fn of<B: Backend>(checkpoint: &Checkpoint) -> Result<Self> {
        Ok(Self {
            on_host: BackendInfo::of::<B>().uses_host_memory,
            text_encoder: checkpoint.text_encoder.stored_parameters()?,
            transformer: checkpoint.transformer.stored_parameters()?,
            vae: checkpoint.vae.stored_parameters()?,
        })
    }

    fn estimate(
        &self,
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        request: &GenerationRequest,
    ) -> MemoryEstimate {
        let config = &checkpoint.transformer.config;
        let dtype = options.dtype;
        let text_encoder = Placed::of(&self.text_encoder, dtype, |parameter| {
            options.text_encoder_placement(parameter)
        });
        let transformer = Placed::of(&self.transformer, dtype, |parameter| {
            options.transformer_placement(config, parameter)
        });
        let vae = Placed::of(&self.vae, options.resolved_vae_dtype(), |parameter| {
            options.vae_placement(parameter)
        });
        let parameters = request.parameters();
        let prompts = request.num_prompts().max(1);
        let images = prompts.saturating_mul(parameters.images_per_prompt);
        // Both sides of guidance go through streamed blocks at once, unless each has its cache.
        let guided = parameters.guidance.uses_negative_prompt();
        let both = transformer.streamed > 0 && guided && parameters.step_cache.is_none();
        let footprint = Footprint {
            transformer: config,
            vae: &checkpoint.vae.config,
            width: parameters.width,
            height: parameters.height,
            text_tokens: parameters.max_sequence_length,
            images: if both { 2 * images } else { images },
            element_bytes: dtype.bytes(),
            vae_tile: parameters.vae_tiling.map(|tiling| tiling.tile),
        };
        let quantized = text_encoder.quantized + transformer.quantized;
        let mut resident = text_encoder.device + transformer.device + vae.device;
        if self.on_host {
            resident += quantized;
        }
        let text_encoding = resident + 2 * text_encoder.largest_streamed;
        let branches = 1 + u64::from(guided) + u64::from(parameters.guidance.skip_layers.is_some());
        let cached = parameters
            .step_cache
            .map_or(0, |cache| footprint.step_cache_bytes(cache, branches));
        let denoising =
            resident + 2 * transformer.largest_streamed + footprint.transformer_bytes() + cached;
        let vae_decoding = resident + footprint.vae_bytes();
        let image_encoding = match request.source_image() {
            Some(_) => resident + footprint.vae_encoder_bytes(),
            None => 0,
        };
        MemoryEstimate {
            text_encoder: text_encoder.device,
            transformer: transformer.device,
            vae: vae.device,
            quantized,
            streamed_blocks: transformer.streamed,
            text_encoding,
            image_encoding,
            denoising,
            vae_decoding,
            peak: text_encoding
                .max(image_encoding)
                .max(denoising)
                .max(vae_decoding),
        }
    }
}

impl Placed {
    fn of(
        parameters: &[StoredParameter],
        dtype: WeightDtype,
        placement: impl Fn(&StoredParameter) -> Residency,
    ) -> Self {
        let mut placed = Self::default();
        let mut streamed = BTreeMap::<BlockIndex, u64>::new();
        for stored in parameters {
            let parameter = &stored.parameter;
            let bytes = parameter.elements() * dtype.bytes();
            let residency = placement(stored);
            if residency == Residency::Device {
                placed.device += bytes;
                continue;
            }
            if let Residency::Quantized(quantization) = residency {
                let scheme = QuantizationScheme::new(quantization);
                placed.quantized += scheme.bytes_of(parameter).unwrap_or_default();
            }
            if let Some(block) = parameter.role.block() {
                *streamed.entry(block).or_default() += bytes;
            }
        }
        placed.largest_streamed = streamed.values().max().copied().unwrap_or(0);
        placed.streamed = streamed.len();
        placed
    }
}
