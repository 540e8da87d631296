use serde::{Deserialize, Serialize};

use super::SecondPass;
use crate::sampling::guidance::GuidanceSettings;
use crate::sampling::{SamplerKind, Schedule, SigmaSpacing};
use crate::step_cache::StepCacheKind;
use crate::text_encoder::MAX_PROMPT_TOKENS;
use crate::vae::VaeTiling;

/// Parameters that determine the images: everything in a request except tensors and images.
/// Requests contain them, and results record them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GenerationParameters {
    /// Prompts; empty if embeddings were given.
    pub prompts: Vec<String>,
    /// Negative prompts, one for all prompts or one for each. In settings, empty if guidance was
    /// off or embeddings were given.
    pub negative_prompts: Vec<String>,
    /// Number of text rows that the transformer reads: a prompt's tokens, then zeros.
    #[serde(default = "default_max_sequence_length")]
    pub max_sequence_length: usize,
    /// Width in pixels, of the first pass if there are two.
    pub width: usize,
    /// Height in pixels, of the first pass if there are two.
    pub height: usize,
    /// Number of denoising steps requested. With a source image, only the last of them run.
    pub num_inference_steps: usize,
    /// Scale, method and interval of guidance.
    #[serde(flatten)]
    pub guidance: GuidanceSettings,
    /// Sampler that updates the latents from predictions.
    #[serde(default)]
    pub sampler: SamplerKind,
    /// Spacing of the sigmas between noise and image.
    #[serde(default)]
    pub sigma_spacing: SigmaSpacing,
    /// Schedule that shifts the sigmas.
    pub schedule: Schedule,
    /// Custom sigmas, before the schedule shifts them.
    #[serde(default)]
    pub custom_sigmas: Option<Vec<f32>>,
    /// Step cache that skips parts of steps.
    #[serde(default)]
    pub step_cache: Option<StepCacheKind>,
    /// Second pass at a larger size.
    #[serde(default)]
    pub second_pass: Option<SecondPass>,
    /// Number of images per prompt.
    pub images_per_prompt: usize,
    /// Seeds of the noise: one per image, or a shared one, which settings repeat for each image. In
    /// settings, empty if the initial noise was given and the sampler adds none.
    pub seeds: Vec<u64>,
    /// Whether a single generator with the first seed draws the noise of all images one after
    /// another.
    #[serde(default)]
    pub is_seed_shared: bool,
    /// Tiling of the VAE; `None` to decode each image whole.
    #[serde(default)]
    pub vae_tiling: Option<VaeTiling>,
}

fn default_max_sequence_length() -> usize {
    MAX_PROMPT_TOKENS
}

/// Default seed of the authors' script.
const DEFAULT_SEED: u64 = 42;

impl GenerationParameters {
    /// Creates parameters with the release's defaults: 1024x1024, 50 steps, guidance 5.0, seed 42.
    pub(super) fn new(prompts: Vec<String>) -> Self {
        Self {
            prompts,
            negative_prompts: vec![String::new()],
            max_sequence_length: default_max_sequence_length(),
            width: 1024,
            height: 1024,
            num_inference_steps: 50,
            guidance: GuidanceSettings::new(5.0),
            sampler: SamplerKind::default(),
            sigma_spacing: SigmaSpacing::default(),
            schedule: Schedule::Checkpoint,
            custom_sigmas: None,
            step_cache: None,
            second_pass: None,
            images_per_prompt: 1,
            seeds: vec![DEFAULT_SEED],
            is_seed_shared: true,
            vae_tiling: None,
        }
    }

    /// Seed of an image of the batch; `None` if none was given for it.
    pub fn seed_of_image(&self, image: usize) -> Option<u64> {
        let index = if self.is_seed_shared { 0 } else { image };
        self.seeds.get(index).copied()
    }
}
