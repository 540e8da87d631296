use std::time::Duration;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use image::RgbImage;

use super::guided_model::StepCacheReport;
use super::profile::DenoisingProfile;
use super::prompt_encoder::EncodedPrompts;
use crate::request::GenerationSettings;

/// What a request produced.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GenerationOutput<B: Backend> {
    /// The images, prompts first: all images of the first prompt, then of the second.
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

/// One image.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GeneratedImage {
    /// 8 bits per channel.
    pub image: RgbImage,
    /// The seed of its noise; for a shared seed, the batch's. `None` when the noise was given.
    pub seed: Option<u64>,
    /// Index of its prompt.
    pub prompt_index: usize,
}

/// Time spent in each phase.
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
