use std::time::{Duration, Instant};

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use image::RgbImage;

use super::guided_model::StepCacheReport;
use super::profile::DenoisingProfile;
use crate::loaded_models::EncodedPrompts;
use crate::request::GenerationSettings;

/// Output of a request: images, latents, embeddings, settings and timings.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GenerationOutput<B: Backend> {
    /// Images, grouped by prompt: all images of the first prompt, then of the second.
    pub images: Vec<GeneratedImage>,
    /// Images as one tensor, `[images, 3, height, width]`, f32 in 0..1, not rounded.
    pub image_tensor: Tensor<B, 4>,
    /// Initial noise, `[images, latent channels, height / 8, width / 8]`, f32; of the first pass if
    /// there are two.
    pub initial_latents: Tensor<B, 4>,
    /// Denoised latents before the VAE's scaling, f32, `[images, latent channels, height / 8, width /
    /// 8]`.
    pub latents: Tensor<B, 4>,
    /// Encoded prompts, for reuse or inspection.
    pub encoded_prompts: EncodedPrompts<B>,
    /// Encoded negative prompts; `None` if guidance was off.
    pub encoded_negative_prompts: Option<EncodedPrompts<B>>,
    /// Settings that the generation used.
    pub settings: GenerationSettings,
    /// Time spent in each phase.
    pub timings: Timings,
    /// Time spent in each part of the steps; `None` unless the request enables profiling.
    pub profile: Option<DenoisingProfile>,
    /// Report of the step cache; `None` without a step cache.
    pub step_cache: Option<StepCacheReport>,
}

/// Generated image with its seed and the index of its prompt.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GeneratedImage {
    /// Pixels, with 8 bits per channel.
    pub image: RgbImage,
    /// Seed of the image's noise, or of the whole batch if the seed is shared. `None` if the noise
    /// was given.
    pub seed: Option<u64>,
    /// Index of the image's prompt.
    pub prompt_index: usize,
}

/// Time spent in each phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Timings {
    /// Time to encode the prompts to embeddings.
    pub text_encoding: Duration,
    /// Time to encode the source image, or an upscaled one, to latents.
    pub image_encoding: Duration,
    /// Time of the sampling loop, of both passes if there are two.
    pub denoising: Duration,
    /// Time to decode the latents to pixels, also between two passes.
    pub vae_decoding: Duration,
    /// Time of the whole request.
    pub total: Duration,
}

/// Runs a phase and adds its duration to `spent`.
pub(super) fn timed<T>(spent: &mut Duration, phase: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = phase();
    *spent += start.elapsed();
    result
}
