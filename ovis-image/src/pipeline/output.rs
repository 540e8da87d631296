use std::time::Duration;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::{ActiveLora, DenoisingProfile, EncodedPrompts, PromptReport, StepCacheReport};
use crate::config::WeightDtype;
use crate::images::SourceSettings;
use crate::sampling::guidance::{GuidanceInterval, SkipLayerGuidance};
use crate::sampling::{GuidanceMethod, SamplerKind, SigmaSpacing};
use crate::step_cache::StepCacheKind;
use crate::vae::VaeTiling;

/// What a request produced.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GenerationOutput<B: Backend> {
    /// The pictures, prompts first: all images of the first prompt, then of the second.
    pub images: Vec<GeneratedImage>,
    /// The same as one tensor, `[images, 3, height, width]`, f32 in 0..1, not rounded.
    pub image_tensor: Tensor<B, 4>,
    /// The initial noise, `[images, latent channels, height / 8, width / 8]`, f32.
    pub initial_latents: Tensor<B, 4>,
    /// The denoised latents before the VAE's scaling, same shape, f32.
    pub latents: Tensor<B, 4>,
    /// The text side, for reuse or inspection.
    pub encoded_prompts: EncodedPrompts<B>,
    /// The negative text side; `None` when guidance was off.
    pub encoded_negative_prompts: Option<EncodedPrompts<B>>,
    /// The settings that were really used.
    pub settings: GenerationSettings,
    /// Where the time went.
    pub timings: Timings,
    /// Where the steps' time went; `None` if it was not asked for.
    pub profile: Option<DenoisingProfile>,
    /// What the step cache saved; `None` without one.
    pub step_cache: Option<StepCacheReport>,
}

/// One picture.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GeneratedImage {
    /// 8 bits per channel.
    pub image: RgbImage,
    /// The seed of its noise; for a shared seed, the batch's. `None` for own latents.
    pub seed: Option<u64>,
    /// Which prompt it is of.
    pub prompt_index: usize,
}

/// The settings of a request after defaults and `auto` values were filled in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GenerationSettings {
    /// Prompts; empty when embeddings were given.
    pub prompts: Vec<String>,
    /// Negative prompts; empty when guidance was off or embeddings were given.
    pub negative_prompts: Vec<String>,
    /// What the tokenizer made of each prompt, the cut tokens included.
    pub prompt_reports: Vec<PromptReport>,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Denoising steps as asked for; with a source image, the last of them were taken.
    pub num_inference_steps: usize,
    /// Guidance as given.
    pub guidance_scale: f32,
    /// How it guides.
    #[serde(default)]
    pub guidance_method: GuidanceMethod,
    /// In which steps it guides.
    #[serde(default = "all_steps")]
    pub guidance_interval: GuidanceInterval,
    /// Blocks that were led away from.
    #[serde(default)]
    pub skip_layers: Option<SkipLayerGuidance>,
    /// How predictions moved the latents.
    #[serde(default)]
    pub sampler: SamplerKind,
    /// How steps were spread.
    #[serde(default)]
    pub sigma_spacing: SigmaSpacing,
    /// What left out parts of steps.
    #[serde(default)]
    pub step_cache: Option<StepCacheKind>,
    /// How a source image was used.
    #[serde(default)]
    pub source: Option<SourceSettings>,
    /// Images of each prompt.
    pub images_per_prompt: usize,
    /// The seed of each image; empty for own latents.
    pub seeds: Vec<u64>,
    /// Whether one generator drew the noise of all images, one after another.
    #[serde(default)]
    pub is_seed_shared: bool,
    /// The schedule's name, for example `dynamic`.
    pub schedule: String,
    /// The sigmas of the steps that were taken, one more than those.
    pub sigmas: Vec<f32>,
    /// Own sigmas, before the schedule bent them.
    #[serde(default)]
    pub custom_sigmas: Option<Vec<f32>>,
    /// Dtype of the text encoder and the transformer.
    pub dtype: WeightDtype,
    /// Dtype of the VAE.
    pub vae_dtype: WeightDtype,
    /// The LoRAs on the transformer, by name.
    pub loras: Vec<ActiveLora>,
    /// The VAE's tiles; `None` when each image was decoded whole.
    pub vae_tiling: Option<VaeTiling>,
    /// Burn's name of the backend.
    pub backend: String,
}

fn all_steps() -> GuidanceInterval {
    GuidanceInterval::ALL
}

/// Seconds of each phase, as `Duration`s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Timings {
    /// Prompts to embeddings.
    pub text_encoding: Duration,
    /// The source image to latents.
    pub image_encoding: Duration,
    /// The sampling loop.
    pub denoising: Duration,
    /// Latents to pixels.
    pub vae_decoding: Duration,
    /// All of the request.
    pub total: Duration,
}
