//! What a run did, for programs to read.

use std::time::Duration;

use ovis_image::GenerationSettings;
use ovis_image::memory::MemoryEstimate;
use ovis_image::pipeline::{DenoisingProfile, StepCacheReport, Timings};
use serde::Serialize;

use crate::lora::AppliedLora;

/// The JSON object of `generate --json`.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// What the model is called.
    pub model: String,
    /// The device that it ran on.
    pub device: String,
    /// The settings that were really used; of a grid, those of its last picture.
    pub settings: Option<GenerationSettings>,
    /// Where the time went.
    pub seconds: Seconds,
    /// The LoRAs and what became of their modules.
    pub loras: Vec<AppliedLora>,
    /// Where the steps' time went; `null` without `--profile`.
    pub profile: Option<DenoisingProfile>,
    /// What the step cache saved; `null` without one.
    pub step_cache: Option<StepCacheReport>,
    /// What is expected to be on the device, in bytes.
    pub memory_estimate: MemoryEstimate,
    /// The most host memory that the process took; `null` where the system does not tell.
    pub peak_memory_bytes: Option<u64>,
    /// The pictures.
    pub files: Vec<String>,
    /// The file of tensors, if one was asked for.
    pub dump: Option<String>,
}

/// Seconds of each phase.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Seconds {
    /// Opening the checkpoint and bringing the weights to the device.
    pub load: f64,
    /// Prompts to embeddings.
    pub text_encoding: f64,
    /// The picture to start from to latents.
    pub image_encoding: f64,
    /// The sampling loop.
    pub denoising: f64,
    /// Latents to pixels.
    pub vae_decoding: f64,
    /// The whole command, files written.
    pub total: f64,
}

impl Seconds {
    /// From what the pipeline and the program measured.
    pub fn new(load: Duration, timings: &Timings, total: Duration) -> Self {
        Self {
            load: load.as_secs_f64(),
            text_encoding: timings.text_encoding.as_secs_f64(),
            image_encoding: timings.image_encoding.as_secs_f64(),
            denoising: timings.denoising.as_secs_f64(),
            vae_decoding: timings.vae_decoding.as_secs_f64(),
            total: total.as_secs_f64(),
        }
    }
}

/// Adds another picture's times.
pub fn add(sum: &mut Timings, timings: &Timings) {
    sum.text_encoding += timings.text_encoding;
    sum.image_encoding += timings.image_encoding;
    sum.denoising += timings.denoising;
    sum.vae_decoding += timings.vae_decoding;
    sum.total += timings.total;
}
