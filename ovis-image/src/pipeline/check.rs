//! What a model asks of a request, known from configurations alone: requests can be refused before
//! a single weight is read.

use super::encode::checked_data;
use crate::checkpoint::Checkpoint;
use crate::config::WeightDtype;
use crate::config::{TransformerConfig, VaeConfig};
use crate::error::{OvisImageError, Result};
use crate::images::steps_left_out;
use crate::memory::{DeviceMemory, Footprint, MAX_SIDE};
use crate::request::LoadOptions;
use crate::request::{GenerationRequest, Seeds};
use crate::sampling::{FlowMatchEulerScheduler, SigmaSpacing};
use crate::vae::VaeTiling;

/// More images than this in one request are a mistake.
const MAX_IMAGES: usize = 4096;

pub(super) const LATENT_AXES: &str = "images, latent channels, height / 8, width / 8";

/// The sizes and limits that requests are checked against.
#[derive(Debug, Clone)]
pub(super) struct Requirements {
    pub(super) transformer: TransformerConfig,
    pub(super) vae: VaeConfig,
    pub(super) scheduler: FlowMatchEulerScheduler,
    pub(super) dtype: WeightDtype,
    pub(super) vae_dtype: WeightDtype,
    pub(super) memory_limit: Option<u64>,
    /// Whose memory activations are in.
    pub(super) memory: DeviceMemory,
}

/// A request checked against the model, with everything derived from it.
pub(super) struct CheckedRequest {
    pub(super) prompts: usize,
    pub(super) images: usize,
    /// Patch rows and columns.
    pub(super) grid: [usize; 2],
    /// Of the latents, `[images, channels, height, width]`.
    pub(super) latents_shape: [usize; 4],
    /// Steps as asked for.
    pub(super) steps: usize,
    /// Of the steps that are taken, and the final 0.
    pub(super) sigmas: Vec<f32>,
    pub(super) guided: bool,
}

impl GenerationRequest {
    /// Checks the request against a checkpoint before its weights are loaded, which can take
    /// minutes. [`generate`](super::OvisImagePipeline::generate) makes the same checks.
    ///
    /// # Errors
    /// Those of [`generate`](super::OvisImagePipeline::generate) for the request's arguments.
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
            scheduler: FlowMatchEulerScheduler::new(checkpoint.scheduler.clone())?,
            dtype: options.dtype,
            vae_dtype: options.resolved_vae_dtype(),
            memory_limit: options.memory_limit,
            memory,
        })
    }

    /// The sides of an image must be multiples of this.
    pub(super) fn size_multiple(&self) -> usize {
        2 * self.vae.scale_factor()
    }

    /// Checks every argument and derives what follows from them.
    pub(super) fn check(&self, request: &GenerationRequest) -> Result<CheckedRequest> {
        let (prompts, images) = batch(request)?;
        let tile = request.vae_tiling.map(|tiling| tiling.tile);
        self.check_size(request.width, request.height, images, tile)?;
        self.check_tiling(request.vae_tiling)?;
        let blocks = &self.transformer;
        let guidance = &request.guidance;
        guidance.validate(blocks.num_layers, blocks.num_single_layers)?;
        request.sampler.validate()?;
        if let Some(cache) = request.step_cache {
            cache.validate()?;
        }
        if let Some(source) = &request.source {
            source.validate()?;
        }
        let guided = guidance.uses_negative_prompt();
        check_negative_prompts(request, prompts, guided)?;

        let scale = self.size_multiple();
        let grid = [request.height / scale, request.width / scale];
        let image_tokens = grid[0] * grid[1];
        let (schedule, spacing) = (request.schedule, request.sigma_spacing);
        let mut sigmas = match &request.sigmas {
            Some(_) if spacing != SigmaSpacing::Linear => {
                return Err(OvisImageError::argument(
                    "sigma_spacing",
                    format!("own sigmas are spread as they are: leave `{spacing}` out"),
                ));
            }
            Some(sigmas) => self
                .scheduler
                .custom_sigmas(schedule, sigmas, image_tokens)?,
            None => self.scheduler.spaced_sigmas(
                schedule,
                spacing,
                request.num_inference_steps,
                image_tokens,
            )?,
        };
        let steps = sigmas.len() - 1;
        if let Some(source) = &request.source {
            sigmas.drain(..steps_left_out(steps, source.settings().strength));
        }
        let latents_shape = [images, self.vae.latent_channels, 2 * grid[0], 2 * grid[1]];
        if let Some(latents) = &request.latents {
            checked_data("latents", LATENT_AXES, latents, &latents_shape)?;
        }
        Ok(CheckedRequest {
            prompts,
            images,
            grid,
            latents_shape,
            steps,
            sigmas,
            guided,
        })
    }

    pub(super) fn check_tiling(&self, tiling: Option<VaeTiling>) -> Result<()> {
        match tiling.and_then(|tiling| tiling.fault(self.vae.scale_factor())) {
            Some(fault) => Err(OvisImageError::argument("vae_tiling", fault)),
            None => Ok(()),
        }
    }

    /// Checks a size in pixels and the memory that so many images of it take.
    pub(super) fn check_size(
        &self,
        width: usize,
        height: usize,
        images: usize,
        vae_tile: Option<usize>,
    ) -> Result<()> {
        let multiple = self.size_multiple();
        let fail = |reason: String| {
            Err(OvisImageError::InvalidSize {
                width,
                height,
                reason,
            })
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
            return fail(format!("sides can be at most {MAX_SIDE}"));
        }
        Footprint {
            transformer: &self.transformer,
            vae: &self.vae,
            width,
            height,
            images,
            dtype: self.dtype,
            vae_dtype: self.vae_dtype,
            vae_tile,
            memory: self.memory,
        }
        .check(self.memory_limit)
    }
}

/// How many prompts and images, and whether there are seeds for them.
fn batch(request: &GenerationRequest) -> Result<(usize, usize)> {
    let (prompts, images) = (request.num_prompts(), request.num_images());
    if images == 0 || images > MAX_IMAGES {
        let argument = if prompts == 0 {
            "prompts"
        } else {
            "images_per_prompt"
        };
        return Err(OvisImageError::argument(
            argument,
            format!(
                "{prompts} prompts with {} images each: 1 to {MAX_IMAGES} images can be made",
                request.images_per_prompt
            ),
        ));
    }
    match &request.seeds {
        Seeds::PerImage(seeds) if seeds.len() != images && request.latents.is_none() => {
            Err(OvisImageError::argument(
                "seed_per_image",
                format!("{} seeds for {images} images", seeds.len()),
            ))
        }
        _ => Ok((prompts, images)),
    }
}

fn check_negative_prompts(request: &GenerationRequest, prompts: usize, guided: bool) -> Result<()> {
    let negatives = request.negative_prompts.len();
    let needed = guided && request.negative_prompt_embeds.is_none();
    if needed && negatives != 1 && negatives != prompts {
        return Err(OvisImageError::argument(
            "negative_prompts",
            format!("{negatives} for {prompts} prompts: give one, or one for each"),
        ));
    }
    Ok(())
}
