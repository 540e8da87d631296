use burn::tensor::TensorData;

use super::{GenerationParameters, GenerationSettings, SecondPass};
use crate::images::SourceImage;
use crate::sampling::guidance::{GuidanceInterval, SkipLayerGuidance};
use crate::sampling::{GuidanceMethod, SamplerKind, Schedule, SigmaSpacing};
use crate::step_cache::StepCacheKind;
use crate::vae::VaeTiling;

/// Request for images: prompts, size, steps, guidance and seeds.
///
/// Everything but the prompt has the default of the release: 1024x1024, 50 steps, guidance 5.0,
/// seed 42.
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

    /// Requests images of prompt embeddings computed elsewhere: `[prompts, max_sequence_length,
    /// context]`, of any float dtype.
    pub fn from_prompt_embeds(prompt_embeds: TensorData) -> Self {
        Self {
            prompt_embeds: Some(prompt_embeds),
            ..Self::from_parameters(GenerationParameters::new(Vec::new()))
        }
    }

    /// Requests the images of an earlier result again, from its settings.
    ///
    /// Settings do not contain a [source image](Self::with_source_image),
    /// [latents](Self::with_latents) or embeddings; these must be given again.
    pub fn from_settings(settings: &GenerationSettings) -> Self {
        let mut parameters = settings.parameters.clone();
        // The result used none, but guidance that is turned on later needs one.
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

    /// Sets the negative prompt, which describes what the images should not show. It is empty by
    /// default, and not used at a guidance scale of 1 or below.
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

    /// Sets embeddings that replace the negative prompt: `[1 or prompts, max_sequence_length,
    /// context]`.
    pub fn with_negative_prompt_embeds(mut self, embeds: TensorData) -> Self {
        self.negative_prompt_embeds = Some(embeds);
        self
    }

    /// Sets the number of text tokens that the transformer reads, from 1 to 256. The default is 256,
    /// with which the model was trained.
    ///
    /// Longer prompts are truncated, shorter ones padded with zeros. The zeros take part in the
    /// computation, so fewer tokens are faster and give a different image.
    pub fn with_max_sequence_length(mut self, tokens: usize) -> Self {
        self.parameters.max_sequence_length = tokens;
        self
    }

    /// Sets the image size in pixels. Sides must be multiples of 16; between 512 and 1024 works
    /// best.
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

    /// Sets the guidance scale: `unconditional + scale * (conditional - unconditional)`. At 1 or
    /// below, the unconditional prediction is skipped.
    pub fn with_guidance_scale(mut self, scale: f32) -> Self {
        self.parameters.guidance.scale = scale;
        self
    }

    /// Sets the guidance method; classifier-free guidance by default.
    pub fn with_guidance_method(mut self, method: GuidanceMethod) -> Self {
        self.parameters.guidance.method = method;
        self
    }

    /// Limits guidance to a part of the schedule, between fractions from 0 to 1. The other steps
    /// make only one prediction.
    pub fn with_guidance_interval(mut self, start: f64, stop: f64) -> Self {
        self.parameters.guidance.interval = GuidanceInterval { start, stop };
        self
    }

    /// Enables skip-layer guidance, which steers away from the prediction of the model with some
    /// blocks skipped. It takes an additional prediction in some steps, and is off by default.
    pub fn with_skip_layers(mut self, skip_layers: SkipLayerGuidance) -> Self {
        self.parameters.guidance.skip_layers = Some(skip_layers);
        self
    }

    /// Sets the sampler, which updates the latents from predictions; Euler by default.
    pub fn with_sampler(mut self, sampler: SamplerKind) -> Self {
        self.parameters.sampler = sampler;
        self
    }

    /// Sets the spacing of the sigmas between noise and image; even by default.
    pub fn with_sigma_spacing(mut self, spacing: SigmaSpacing) -> Self {
        self.parameters.sigma_spacing = spacing;
        self
    }

    /// Sets the schedule, which shifts the sigmas; the checkpoint's schedule by default.
    pub fn with_schedule(mut self, schedule: Schedule) -> Self {
        self.parameters.schedule = schedule;
        self
    }

    /// Sets custom sigmas instead of evenly spaced ones. They must be falling, within (0, 1] and
    /// without the final zero, and they determine the number of steps.
    ///
    /// The schedule shifts them, as in diffusers; [`Schedule::Unshifted`] uses them unchanged.
    pub fn with_sigmas(mut self, sigmas: impl IntoIterator<Item = f32>) -> Self {
        self.parameters.custom_sigmas = Some(sigmas.into_iter().collect());
        self
    }

    /// Enables a step cache, which skips most of the transformer in steps that change little. It
    /// changes the images, and is off by default.
    pub fn with_step_cache(mut self, cache: StepCacheKind) -> Self {
        self.parameters.step_cache = Some(cache);
        self
    }

    /// Sets a source image to start from, optionally with a mask. All images of the request start
    /// from it.
    pub fn with_source_image(mut self, source: SourceImage) -> Self {
        self.source_image = Some(source);
        self
    }

    /// Adds a second pass: the images are upscaled, and denoised again at the larger size with the
    /// same prompts and seeds. It cannot be combined with a [source image](Self::with_source_image)
    /// or [latents](Self::with_latents).
    ///
    /// ```
    /// use ovis_image::{GenerationRequest, SecondPass};
    ///
    /// let request = GenerationRequest::new("a lighthouse at dusk")
    ///     .with_size(768, 512)
    ///     .with_second_pass(SecondPass::new(2.0).with_strength(0.5));
    /// ```
    pub fn with_second_pass(mut self, second_pass: SecondPass) -> Self {
        self.parameters.second_pass = Some(second_pass);
        self
    }

    /// Makes the request of the second pass alone, at its size; `None` without one.
    pub(crate) fn second_pass_alone(&self, multiple: usize) -> Option<Self> {
        let second_pass = self.parameters.second_pass?;
        let (width, height) = second_pass.size_of(self.size(), multiple);
        let mut alone = self.clone().with_size(width, height);
        alone.parameters.second_pass = None;
        if let Some(steps) = second_pass.steps {
            alone.parameters.num_inference_steps = steps;
            alone.parameters.custom_sigmas = None;
        }
        Some(alone)
    }

    /// Sets whether to measure the time of each part of the steps. Measuring makes them slightly
    /// slower.
    pub fn with_profile(mut self, profile: bool) -> Self {
        self.is_profiled = profile;
        self
    }

    /// Sets the number of images per prompt, generated as one batch.
    pub fn with_images_per_prompt(mut self, images: usize) -> Self {
        self.parameters.images_per_prompt = images;
        self
    }

    /// Sets one seed for the whole batch. A single generator draws the noise of all images, like
    /// one `torch.Generator` passed to diffusers.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.parameters.seeds = vec![seed];
        self.parameters.is_seed_shared = true;
        self
    }

    /// Sets one seed per image, grouped by prompt: as many as prompts times images per prompt. Each
    /// image is the same as if it were generated alone with its seed.
    pub fn with_seed_per_image(mut self, seeds: impl IntoIterator<Item = u64>) -> Self {
        self.parameters.seeds = seeds.into_iter().collect();
        self.parameters.is_seed_shared = false;
        self
    }

    /// Sets the initial noise instead of drawing it from a seed: `[images, latent channels, height
    /// / 8, width / 8]`. It is rounded to the model's dtype, as in diffusers.
    pub fn with_latents(mut self, latents: TensorData) -> Self {
        self.latents = Some(latents);
        self
    }

    /// Enables decoding in tiles, for images that do not fit in memory when decoded whole.
    pub fn with_vae_tiling(mut self, tiling: VaeTiling) -> Self {
        self.parameters.vae_tiling = Some(tiling);
        self
    }

    /// Parameters, as they were set.
    pub fn parameters(&self) -> &GenerationParameters {
        &self.parameters
    }

    /// Width and height in pixels. If there are two passes, those of the first.
    pub fn size(&self) -> (usize, usize) {
        (self.parameters.width, self.parameters.height)
    }

    /// Source image to start from.
    pub fn source_image(&self) -> Option<&SourceImage> {
        self.source_image.as_ref()
    }

    /// Initial noise that replaces the seeds' noise.
    pub fn latents(&self) -> Option<&TensorData> {
        self.latents.as_ref()
    }

    /// Seeds of the generators that draw noise: a single one for all images, or one for each.
    pub(crate) fn generator_seeds(&self) -> &[u64] {
        let seeds = &self.parameters.seeds[..];
        // Custom noise may come without a seed for each image.
        let need_not_fit = self.latents.is_some() && seeds.len() != self.num_images();
        match seeds {
            [] => &[0],
            [shared, ..] if self.parameters.is_seed_shared || need_not_fit => {
                std::slice::from_ref(shared)
            }
            each => each,
        }
    }

    /// Embeddings that replace the prompts.
    pub fn prompt_embeds(&self) -> Option<&TensorData> {
        self.prompt_embeds.as_ref()
    }

    /// Embeddings that replace the negative prompts.
    pub fn negative_prompt_embeds(&self) -> Option<&TensorData> {
        self.negative_prompt_embeds.as_ref()
    }

    /// Whether the time of each part of the steps is measured.
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

    /// Number of images to generate.
    pub fn num_images(&self) -> usize {
        self.num_prompts()
            .saturating_mul(self.parameters.images_per_prompt)
    }
}
