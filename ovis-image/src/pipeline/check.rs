//! Checks of a request against a model's configurations, made before any weight is read.

use crate::checkpoint::Checkpoint;
use crate::config::{TextEncoderConfig, TransformerConfig, VaeConfig, WeightDtype};
use crate::error::{OvisImageError, RequestError, Result};
use crate::images::steps_left_out;
use crate::memory::{DeviceMemory, Footprint, MAX_SIDE};
use crate::request::{
    GenerationParameters, GenerationRequest, LoadOptions, UpscaleMethod, checked_data,
};
use crate::sampling::{FlowMatchEulerScheduler, SigmaSpacing};
use crate::text_encoder::MAX_PROMPT_TOKENS;
use crate::vae::VaeTiling;

pub(super) const LATENT_AXES: &str = "images, latent channels, height / 8, width / 8";

/// Sizes and limits that requests are checked against.
#[derive(Debug, Clone)]
pub(super) struct Requirements {
    transformer: TransformerConfig,
    vae: VaeConfig,
    text_encoder: TextEncoderConfig,
    scheduler: FlowMatchEulerScheduler,
    /// Dtype of the transformer's weights.
    dtype: WeightDtype,
    /// Dtype of the VAE's weights.
    vae_dtype: WeightDtype,
    memory_limit: Option<u64>,
    /// Memory that activations are in.
    memory: DeviceMemory,
}

/// Request that passed the checks, with the values derived from it.
pub(super) struct CheckedRequest {
    pub(super) prompts: usize,
    pub(super) images: usize,
    /// Shape of one prompt's embeddings, `[max_sequence_length, context]`.
    pub(super) text_shape: [usize; 2],
    /// Number of patch rows and columns.
    pub(super) grid: [usize; 2],
    /// Shape of the latents, `[images, channels, height, width]`.
    pub(super) latents_shape: [usize; 4],
    /// Number of steps requested.
    pub(super) steps: usize,
    /// Sigmas of the steps that run, followed by the final 0.
    pub(super) sigmas: Vec<f32>,
    pub(super) guided: bool,
    pub(super) second_pass: Option<Box<CheckedSecondPass>>,
}

/// Second pass that passed the checks.
pub(super) struct CheckedSecondPass {
    /// Request of the pass alone, at its size.
    pub(super) request: GenerationRequest,
    pub(super) checked: CheckedRequest,
    pub(super) upscale: UpscaleMethod,
}

impl CheckedRequest {
    /// Number of steps that run.
    pub(super) fn total_steps(&self) -> usize {
        self.sigmas.len().saturating_sub(1)
    }

    /// Number of steps that run, of both passes if there are two.
    pub(super) fn steps_of_all_passes(&self) -> usize {
        let second = self.second_pass.as_ref();
        self.total_steps() + second.map_or(0, |second| second.checked.total_steps())
    }

    /// Request of the last pass.
    pub(super) fn last_request<'a>(
        &'a self,
        first: &'a GenerationRequest,
    ) -> &'a GenerationRequest {
        let second = self.second_pass.as_ref();
        second.map_or(first, |second| &second.request)
    }

    /// Sigma at which the first step begins.
    pub(super) fn first_sigma(&self) -> f32 {
        self.sigmas.first().copied().unwrap_or(0.0)
    }
}

impl GenerationRequest {
    /// Checks the request against a checkpoint before its weights are loaded, which can take
    /// minutes. [`generate`](super::OvisImagePipeline::generate) makes the same checks.
    ///
    /// # Errors
    /// Returns the errors of [`generate`](super::OvisImagePipeline::generate) that concern the
    /// request's arguments.
    pub fn check(&self, checkpoint: &Checkpoint, options: &LoadOptions) -> Result<()> {
        Requirements::new(checkpoint, options, DeviceMemory::Separate)?
            .check(self)
            .map(|_| ())
    }
}

impl Requirements {
    pub(super) fn new(
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        memory: DeviceMemory,
    ) -> Result<Self> {
        Ok(Self {
            transformer: checkpoint.transformer.config.clone(),
            vae: checkpoint.vae.config.clone(),
            text_encoder: checkpoint.text_encoder.config.clone(),
            scheduler: FlowMatchEulerScheduler::new(checkpoint.scheduler.clone())?,
            dtype: options.dtype,
            vae_dtype: options.resolved_vae_dtype(),
            memory_limit: options.memory_limit,
            memory,
        })
    }

    /// Replaces the transformer, if it fits the other models.
    pub(super) fn with_transformer(
        self,
        transformer: TransformerConfig,
        dtype: WeightDtype,
    ) -> Result<Self> {
        transformer.validate_with(&self.vae, &self.text_encoder)?;
        Ok(Self {
            transformer,
            dtype,
            ..self
        })
    }

    /// Replaces the VAE, if it fits the transformer.
    pub(super) fn with_vae(self, vae: VaeConfig) -> Result<Self> {
        self.transformer.validate_with(&vae, &self.text_encoder)?;
        Ok(Self { vae, ..self })
    }

    /// Replaces the text encoder, if it fits the transformer.
    pub(super) fn with_text_encoder(self, text_encoder: TextEncoderConfig) -> Result<Self> {
        self.transformer.validate_with(&self.vae, &text_encoder)?;
        Ok(Self {
            text_encoder,
            ..self
        })
    }

    /// Number of latent channels.
    pub(super) fn latent_channels(&self) -> usize {
        self.vae.latent_channels
    }

    /// Number of pixels per latent along one side.
    pub(super) fn scale_factor(&self) -> usize {
        self.vae.scale_factor()
    }

    /// Number of pixels that an image's sides must be multiples of.
    pub(super) fn size_multiple(&self) -> usize {
        2 * self.scale_factor()
    }

    /// Checks every argument of a request and derives shapes and sigmas from them.
    pub(super) fn check(&self, request: &GenerationRequest) -> Result<CheckedRequest> {
        let parameters = request.parameters();
        request.validate()?;
        let (prompts, images) = (request.num_prompts(), request.num_images());
        let (width, height) = request.size();
        self.check_size(width, height)?;
        self.check_tiling(parameters.vae_tiling)?;
        Footprint {
            images,
            text_tokens: parameters.max_sequence_length,
            vae_tile: parameters.vae_tiling.map(|tiling| tiling.tile),
            ..self.footprint(width, height)
        }
        .check(self.memory_limit)?;
        let blocks = &self.transformer;
        parameters
            .guidance
            .validate(blocks.num_layers, blocks.num_single_layers)?;

        let scale = self.size_multiple();
        let grid = [height / scale, width / scale];
        let mut sigmas = self.sigmas(parameters, grid[0] * grid[1])?;
        let steps = sigmas.len() - 1;
        if let Some(source) = request.source_image() {
            sigmas.drain(..steps_left_out(steps, source.settings().strength));
        }
        let latents_shape = [images, self.latent_channels(), 2 * grid[0], 2 * grid[1]];
        if let Some(latents) = request.latents() {
            checked_data("latents", LATENT_AXES, latents, &latents_shape)?;
        }
        Ok(CheckedRequest {
            prompts,
            images,
            text_shape: [
                parameters.max_sequence_length,
                self.transformer.joint_attention_dim,
            ],
            grid,
            latents_shape,
            steps,
            sigmas,
            guided: parameters.guidance.uses_negative_prompt(),
            second_pass: self.check_second_pass(request)?,
        })
    }

    fn check_second_pass(
        &self,
        request: &GenerationRequest,
    ) -> Result<Option<Box<CheckedSecondPass>>> {
        let alone = request.second_pass_alone(self.size_multiple());
        let Some((second_pass, request)) = request.parameters().second_pass.zip(alone) else {
            return Ok(None);
        };
        let mut checked = self.check(&request)?;
        let left_out = steps_left_out(checked.steps, second_pass.strength);
        checked.sigmas.drain(..left_out);
        Ok(Some(Box::new(CheckedSecondPass {
            request,
            checked,
            upscale: second_pass.upscale,
        })))
    }

    /// Sigmas of all requested steps, followed by the final 0.
    fn sigmas(&self, parameters: &GenerationParameters, image_tokens: usize) -> Result<Vec<f32>> {
        let (schedule, spacing) = (parameters.schedule, parameters.sigma_spacing);
        let Some(sigmas) = &parameters.custom_sigmas else {
            let steps = parameters.num_inference_steps;
            return self
                .scheduler
                .spaced_sigmas(schedule, spacing, steps, image_tokens);
        };
        if spacing != SigmaSpacing::Linear {
            return Err(OvisImageError::argument(
                "sigma_spacing",
                format!(
                    "`{spacing}` cannot be combined with custom sigmas: leave out one of the two"
                ),
            ));
        }
        self.scheduler.custom_sigmas(schedule, sigmas, image_tokens)
    }

    pub(super) fn check_tiling(&self, tiling: Option<VaeTiling>) -> Result<()> {
        match tiling.and_then(|tiling| tiling.fault(self.vae.scale_factor())) {
            Some(fault) => Err(OvisImageError::argument("vae_tiling", fault)),
            None => Ok(()),
        }
    }

    /// Checks the size of an image to encode, and the memory that encoding needs.
    pub(super) fn check_image(&self, width: usize, height: usize) -> Result<()> {
        self.check_size(width, height)?;
        self.footprint(width, height).check(self.memory_limit)
    }

    /// Checks a size in pixels.
    fn check_size(&self, width: usize, height: usize) -> Result<()> {
        let multiple = self.size_multiple();
        let fail = |reason: String| {
            Err(RequestError::InvalidSize {
                width,
                height,
                reason,
            }
            .into())
        };
        if width == 0 || height == 0 {
            return fail("a side is zero".into());
        }
        if !width.is_multiple_of(multiple) || !height.is_multiple_of(multiple) {
            let nearest = |side: usize| {
                let steps = side.saturating_add(multiple / 2) / multiple;
                steps.max(1).saturating_mul(multiple)
            };
            return fail(format!(
                "sides must be multiples of {multiple}; the nearest size is {}x{}",
                nearest(width),
                nearest(height)
            ));
        }
        if width > MAX_SIDE || height > MAX_SIDE {
            return fail(format!("sides must be at most {MAX_SIDE}"));
        }
        Ok(())
    }

    /// Memory footprint of one image.
    fn footprint(&self, width: usize, height: usize) -> Footprint<'_> {
        Footprint {
            transformer: &self.transformer,
            vae: &self.vae,
            width,
            height,
            images: 1,
            text_tokens: MAX_PROMPT_TOKENS,
            dtype: self.dtype,
            vae_dtype: self.vae_dtype,
            vae_tile: None,
            memory: self.memory,
        }
    }
}
