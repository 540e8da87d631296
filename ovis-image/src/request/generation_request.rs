use burn::tensor::TensorData;

use crate::error::Result;
use crate::images::SourceImage;
use crate::pipeline::GenerationSettings;
use crate::sampling::guidance::{GuidanceInterval, GuidanceSettings, SkipLayerGuidance};
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
///     .negative_prompt("blurry")
///     .size(768, 512)
///     .num_inference_steps(30)
///     .seed(7);
/// ```
#[derive(Debug, Clone)]
pub struct GenerationRequest {
    pub(crate) prompts: Vec<String>,
    pub(crate) negative_prompts: Vec<String>,
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) num_inference_steps: usize,
    pub(crate) guidance: GuidanceSettings,
    pub(crate) sampler: SamplerKind,
    pub(crate) sigma_spacing: SigmaSpacing,
    pub(crate) step_cache: Option<StepCacheKind>,
    pub(crate) source: Option<SourceImage>,
    pub(crate) is_profiled: bool,
    pub(crate) images_per_prompt: usize,
    pub(crate) seeds: Seeds,
    pub(crate) schedule: Schedule,
    pub(crate) sigmas: Option<Vec<f32>>,
    pub(crate) latents: Option<TensorData>,
    pub(crate) prompt_embeds: Option<TensorData>,
    pub(crate) negative_prompt_embeds: Option<TensorData>,
    pub(crate) vae_tiling: Option<VaeTiling>,
}

/// Where the noise comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seeds {
    /// One generator for the whole batch, as one `torch.Generator` passed to diffusers.
    Shared(u64),
    /// A generator per image, as a list of them: each image is what its seed gives alone.
    PerImage(Vec<u64>),
}

impl Seeds {
    /// The seed of one image of a batch.
    pub(crate) fn of_image(&self, image: usize) -> u64 {
        match self {
            Self::Shared(seed) => *seed,
            Self::PerImage(seeds) => seeds.get(image).copied().unwrap_or_default(),
        }
    }
}

/// The seed of the authors' script.
const DEFAULT_SEED: u64 = 42;

impl GenerationRequest {
    /// A request for one image of a prompt.
    pub fn new(prompt: impl Into<String>) -> Self {
        Self::with_prompts([prompt.into()])
    }

    /// A request for several prompts at once.
    pub fn with_prompts(prompts: impl IntoIterator<Item = String>) -> Self {
        Self {
            prompts: prompts.into_iter().collect(),
            negative_prompts: vec![String::new()],
            width: 1024,
            height: 1024,
            num_inference_steps: 50,
            guidance: GuidanceSettings::new(5.0),
            sampler: SamplerKind::default(),
            sigma_spacing: SigmaSpacing::default(),
            step_cache: None,
            source: None,
            is_profiled: false,
            images_per_prompt: 1,
            seeds: Seeds::Shared(DEFAULT_SEED),
            schedule: Schedule::Checkpoint,
            sigmas: None,
            latents: None,
            prompt_embeds: None,
            negative_prompt_embeds: None,
            vae_tiling: None,
        }
    }

    /// The request that a result's settings describe, to make it again. What they cannot hold must be
    /// given again: a [source image](Self::source_image), own [`latents`](Self::latents) and embeddings.
    ///
    /// # Errors
    /// [`RequestError::InvalidArgument`](crate::error::RequestError::InvalidArgument) for
    /// a schedule that is not known.
    pub fn from_settings(settings: &GenerationSettings) -> Result<Self> {
        let mut request = Self::with_prompts(settings.prompts.iter().cloned());
        if !settings.negative_prompts.is_empty() {
            request.negative_prompts = settings.negative_prompts.clone();
        }
        request.width = settings.width;
        request.height = settings.height;
        request.num_inference_steps = settings.num_inference_steps;
        request.guidance = GuidanceSettings {
            scale: settings.guidance_scale,
            method: settings.guidance_method,
            interval: settings.guidance_interval,
            skip_layers: settings.skip_layers.clone(),
        };
        request.sampler = settings.sampler;
        request.sigma_spacing = settings.sigma_spacing;
        request.step_cache = settings.step_cache;
        request.images_per_prompt = settings.images_per_prompt;
        request.seeds = match settings.seeds.first() {
            Some(seed) if settings.is_seed_shared => Seeds::Shared(*seed),
            _ => Seeds::PerImage(settings.seeds.clone()),
        };
        request.schedule = settings.schedule.parse()?;
        request.sigmas = settings.custom_sigmas.clone();
        request.vae_tiling = settings.vae_tiling;
        Ok(request)
    }

    /// A request from embeddings made elsewhere: `[prompts, 256, context]`, any float.
    pub fn with_prompt_embeds(prompt_embeds: TensorData) -> Self {
        let mut request = Self::with_prompts([]);
        request.prompt_embeds = Some(prompt_embeds);
        request
    }

    /// Other prompts, everything else alike.
    pub fn prompts(mut self, prompts: impl IntoIterator<Item = String>) -> Self {
        self.prompts = prompts.into_iter().collect();
        self
    }

    /// What the image should not show; the empty text by default. Unused at a guidance of 1 and
    /// below.
    pub fn negative_prompt(mut self, prompt: impl Into<String>) -> Self {
        self.negative_prompts = vec![prompt.into()];
        self
    }

    /// One negative prompt for each prompt.
    pub fn negative_prompts(mut self, prompts: impl IntoIterator<Item = String>) -> Self {
        self.negative_prompts = prompts.into_iter().collect();
        self
    }

    /// Embeddings in place of the negative prompt: `[1 or prompts, 256, context]`.
    pub fn negative_prompt_embeds(mut self, embeds: TensorData) -> Self {
        self.negative_prompt_embeds = Some(embeds);
        self
    }

    /// Size in pixels: multiples of 16, best between 512 and 1024 a side.
    pub fn size(mut self, width: usize, height: usize) -> Self {
        self.width = width;
        self.height = height;
        self
    }

    /// Denoising steps.
    pub fn num_inference_steps(mut self, steps: usize) -> Self {
        self.num_inference_steps = steps;
        self
    }

    /// `unconditional + scale * (conditional - unconditional)`; at 1 and below the second pass is
    /// skipped.
    pub fn guidance_scale(mut self, scale: f32) -> Self {
        self.guidance.scale = scale;
        self
    }

    /// How the two predictions become one; classifier-free guidance by default.
    pub fn guidance_method(mut self, method: GuidanceMethod) -> Self {
        self.guidance.method = method;
        self
    }

    /// Guides in a part of the steps only, from 0 to 1: the others make one prediction.
    pub fn guidance_interval(mut self, start: f64, stop: f64) -> Self {
        self.guidance.interval = GuidanceInterval { start, stop };
        self
    }

    /// Leads away from what the model predicts with blocks left out, which takes a further prediction in
    /// some steps. Off by default.
    pub fn skip_layers(mut self, skip_layers: SkipLayerGuidance) -> Self {
        self.guidance.skip_layers = Some(skip_layers);
        self
    }

    /// How predictions move the latents; Euler by default.
    pub fn sampler(mut self, sampler: SamplerKind) -> Self {
        self.sampler = sampler;
        self
    }

    /// How steps are spread between noise and image; evenly by default.
    pub fn sigma_spacing(mut self, spacing: SigmaSpacing) -> Self {
        self.sigma_spacing = spacing;
        self
    }

    /// Leaves out most of the transformer in steps that change little. Off by default: images differ.
    pub fn step_cache(mut self, cache: StepCacheKind) -> Self {
        self.step_cache = Some(cache);
        self
    }

    /// A picture to start from, whole or behind a mask. With several images, all start from it.
    pub fn source_image(mut self, source: SourceImage) -> Self {
        self.source = Some(source);
        self
    }

    /// Measures what the steps' time goes to, which costs a little itself.
    pub fn profile(mut self, profile: bool) -> Self {
        self.is_profiled = profile;
        self
    }

    /// Images of each prompt.
    pub fn images_per_prompt(mut self, images: usize) -> Self {
        self.images_per_prompt = images;
        self
    }

    /// One seed for the whole batch: the noise is torch's for it.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seeds = Seeds::Shared(seed);
        self
    }

    /// A seed per image, prompts first: as many as prompts times images per prompt.
    pub fn seed_per_image(mut self, seeds: impl IntoIterator<Item = u64>) -> Self {
        self.seeds = Seeds::PerImage(seeds.into_iter().collect());
        self
    }

    /// How sigmas are bent; the checkpoint's way by default.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// Own sigmas in place of evenly spaced ones: falling within (0, 1], without the final 0. The
    /// schedule bends them, as in diffusers; [`Schedule::Unshifted`] leaves them alone. The number
    /// of steps is theirs.
    pub fn sigmas(mut self, sigmas: impl IntoIterator<Item = f32>) -> Self {
        self.sigmas = Some(sigmas.into_iter().collect());
        self
    }

    /// Own initial noise in place of a seed's, rounded to the model's dtype as in diffusers: `[images, latent channels, height / 8, width / 8]`.
    pub fn latents(mut self, latents: TensorData) -> Self {
        self.latents = Some(latents);
        self
    }

    /// Width and height in pixels.
    pub fn dimensions(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    /// How many prompts.
    pub fn num_prompts(&self) -> usize {
        match &self.prompt_embeds {
            Some(embeds) => embeds.shape.first().copied().unwrap_or(0),
            None => self.prompts.len(),
        }
    }

    /// How many images will be made.
    pub fn num_images(&self) -> usize {
        self.num_prompts().saturating_mul(self.images_per_prompt)
    }

    /// Whether images are decoded in tiles.
    pub fn is_tiled(&self) -> bool {
        self.vae_tiling.is_some()
    }

    /// Decodes in tiles: for images whose whole decode does not fit in memory.
    pub fn vae_tiling(mut self, tiling: VaeTiling) -> Self {
        self.vae_tiling = Some(tiling);
        self
    }
}
