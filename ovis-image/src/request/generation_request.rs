use burn::tensor::TensorData;

use super::{GenerationParameters, GenerationSettings};
use crate::images::SourceImage;
use crate::sampling::guidance::{GuidanceInterval, SkipLayerGuidance};
use crate::sampling::{GuidanceMethod, SamplerKind, Schedule, SigmaSpacing};
use crate::step_cache::StepCacheKind;
use crate::vae::VaeTiling;

/// What to generate. Everything but the prompt has a default: the release's 1024x1024, 50 steps,
/// guidance 5.0, seed 42.
///
/// ```
/// use ovis_image::GenerationRequest;
///
/// let request = GenerationRequest::new("a lighthouse at dusk")
///     .with_negative_prompt("blurry")
///     .with_size(768, 512)
///     .with_num_inference_steps(30)
///     .with_seed(7);
/// ```
#[derive(Debug, Clone)]
pub struct GenerationRequest {
    parameters: GenerationParameters,
    source_image: Option<SourceImage>,
    latents: Option<TensorData>,
    prompt_embeds: Option<TensorData>,
    negative_prompt_embeds: Option<TensorData>,
    is_profiled: bool,
}

impl GenerationRequest {
    /// Requests one image of a prompt.
    pub fn new(prompt: impl Into<String>) -> Self {
        Self::from_prompts([prompt])
    }

    /// Requests images of several prompts at once.
    pub fn from_prompts(prompts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let prompts = prompts.into_iter().map(Into::into).collect();
        Self::from_parameters(GenerationParameters::new(prompts))
    }

    /// Requests images of embeddings made elsewhere: `[prompts, max_sequence_length, context]`, any
    /// float.
    pub fn from_prompt_embeds(prompt_embeds: TensorData) -> Self {
        Self {
            prompt_embeds: Some(prompt_embeds),
            ..Self::from_parameters(GenerationParameters::new(Vec::new()))
        }
    }

    /// Requests what a result's settings describe, to make it again. What they cannot hold must be
    /// given again: a [source image](Self::with_source_image), [latents](Self::with_latents) and
    /// embeddings.
    pub fn from_settings(settings: &GenerationSettings) -> Self {
        let mut parameters = settings.parameters.clone();
        // None were used; guidance that is turned on later needs one.
        if parameters.negative_prompts.is_empty() {
            parameters.negative_prompts.push(String::new());
        }
        Self::from_parameters(parameters)
    }

    fn from_parameters(parameters: GenerationParameters) -> Self {
        Self {
            parameters,
            source_image: None,
            latents: None,
            prompt_embeds: None,
            negative_prompt_embeds: None,
            is_profiled: false,
        }
    }

    /// Sets the prompts.
    pub fn with_prompts(mut self, prompts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.parameters.prompts = prompts.into_iter().map(Into::into).collect();
        self
    }

    /// Sets what the images should not show; the empty text by default. Unused at a guidance scale
    /// of 1 and below.
    pub fn with_negative_prompt(self, prompt: impl Into<String>) -> Self {
        self.with_negative_prompts([prompt])
    }

    /// Sets a negative prompt for each prompt.
    pub fn with_negative_prompts(
        mut self,
        prompts: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.parameters.negative_prompts = prompts.into_iter().map(Into::into).collect();
        self
    }

    /// Sets embeddings in place of the negative prompt: `[1 or prompts, max_sequence_length,
    /// context]`.
    pub fn with_negative_prompt_embeds(mut self, embeds: TensorData) -> Self {
        self.negative_prompt_embeds = Some(embeds);
        self
    }

    /// Sets how many rows of text the transformer reads, 1 to 256: longer prompts are cut, shorter
    /// ones filled up with zeros. 256 by default, which the model was trained with; the zeros are
    /// part of the computation, so fewer rows are quicker and give another image.
    pub fn with_max_sequence_length(mut self, tokens: usize) -> Self {
        self.parameters.max_sequence_length = tokens;
        self
    }

    /// Sets the size in pixels: multiples of 16, best between 512 and 1024 a side.
    pub fn with_size(mut self, width: usize, height: usize) -> Self {
        self.parameters.width = width;
        self.parameters.height = height;
        self
    }

    /// Sets the number of denoising steps.
    pub fn with_num_inference_steps(mut self, steps: usize) -> Self {
        self.parameters.num_inference_steps = steps;
        self
    }

    /// Sets the scale of guidance, `unconditional + scale * (conditional - unconditional)`; at 1
    /// and below the second prediction is skipped.
    pub fn with_guidance_scale(mut self, scale: f32) -> Self {
        self.parameters.guidance.scale = scale;
        self
    }

    /// Sets the guidance method; classifier-free guidance by default.
    pub fn with_guidance_method(mut self, method: GuidanceMethod) -> Self {
        self.parameters.guidance.method = method;
        self
    }

    /// Guides in a part of the steps only, from 0 to 1: the others make one prediction.
    pub fn with_guidance_interval(mut self, start: f64, stop: f64) -> Self {
        self.parameters.guidance.interval = GuidanceInterval { start, stop };
        self
    }

    /// Guides away from what the model predicts with blocks left out, which takes a further
    /// prediction in some steps. Off by default.
    pub fn with_skip_layers(mut self, skip_layers: SkipLayerGuidance) -> Self {
        self.parameters.guidance.skip_layers = Some(skip_layers);
        self
    }

    /// Sets how predictions move the latents; Euler by default.
    pub fn with_sampler(mut self, sampler: SamplerKind) -> Self {
        self.parameters.sampler = sampler;
        self
    }

    /// Sets how steps are spread between noise and image; evenly by default.
    pub fn with_sigma_spacing(mut self, spacing: SigmaSpacing) -> Self {
        self.parameters.sigma_spacing = spacing;
        self
    }

    /// Sets how sigmas are shifted; the checkpoint's way by default.
    pub fn with_schedule(mut self, schedule: Schedule) -> Self {
        self.parameters.schedule = schedule;
        self
    }

    /// Sets custom sigmas in place of evenly spaced ones: falling within (0, 1], without the final
    /// 0. The schedule shifts them, as in diffusers; [`Schedule::Unshifted`] leaves them alone.
    /// They decide the number of steps.
    pub fn with_sigmas(mut self, sigmas: impl IntoIterator<Item = f32>) -> Self {
        self.parameters.custom_sigmas = Some(sigmas.into_iter().collect());
        self
    }

    /// Leaves out most of the transformer in steps that change little. Off by default: images
    /// differ.
    pub fn with_step_cache(mut self, cache: StepCacheKind) -> Self {
        self.parameters.step_cache = Some(cache);
        self
    }

    /// Sets an image to start from, whole or behind a mask. With several images, all start from it.
    pub fn with_source_image(mut self, source: SourceImage) -> Self {
        self.source_image = Some(source);
        self
    }

    /// Sets whether the steps' time is measured by what it is spent on, which costs a little itself.
    pub fn with_profile(mut self, profile: bool) -> Self {
        self.is_profiled = profile;
        self
    }

    /// Sets the number of images per prompt, generated as one batch.
    pub fn with_images_per_prompt(mut self, images: usize) -> Self {
        self.parameters.images_per_prompt = images;
        self
    }

    /// Sets one seed for the whole batch: one generator draws the noise of all images, as one
    /// `torch.Generator` passed to diffusers does.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.parameters.seeds = vec![seed];
        self.parameters.is_seed_shared = true;
        self
    }

    /// Sets a seed per image, prompts first: as many as prompts times images per prompt. Each image
    /// is what its seed gives alone.
    pub fn with_seed_per_image(mut self, seeds: impl IntoIterator<Item = u64>) -> Self {
        self.parameters.seeds = seeds.into_iter().collect();
        self.parameters.is_seed_shared = false;
        self
    }

    /// Sets the initial noise in place of a seed's, rounded to the model's dtype as in diffusers:
    /// `[images, latent channels, height / 8, width / 8]`.
    pub fn with_latents(mut self, latents: TensorData) -> Self {
        self.latents = Some(latents);
        self
    }

    /// Decodes in tiles: for images whose whole decode does not fit in memory.
    pub fn with_vae_tiling(mut self, tiling: VaeTiling) -> Self {
        self.parameters.vae_tiling = Some(tiling);
        self
    }

    /// The parameters, as they were set.
    pub fn parameters(&self) -> &GenerationParameters {
        &self.parameters
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (usize, usize) {
        (self.parameters.width, self.parameters.height)
    }

    /// The image to start from.
    pub fn source_image(&self) -> Option<&SourceImage> {
        self.source_image.as_ref()
    }

    /// The initial noise in place of a seed's.
    pub fn latents(&self) -> Option<&TensorData> {
        self.latents.as_ref()
    }

    /// The embeddings in place of prompts.
    pub fn prompt_embeds(&self) -> Option<&TensorData> {
        self.prompt_embeds.as_ref()
    }

    /// The embeddings in place of negative prompts.
    pub fn negative_prompt_embeds(&self) -> Option<&TensorData> {
        self.negative_prompt_embeds.as_ref()
    }

    /// Whether the steps' time is measured by what it is spent on.
    pub fn is_profiled(&self) -> bool {
        self.is_profiled
    }

    /// Number of prompts.
    pub fn num_prompts(&self) -> usize {
        match &self.prompt_embeds {
            Some(embeds) => embeds.shape.first().copied().unwrap_or(0),
            None => self.parameters.prompts.len(),
        }
    }

    /// Number of images that will be made.
    pub fn num_images(&self) -> usize {
        self.num_prompts()
            .saturating_mul(self.parameters.images_per_prompt)
    }
}
