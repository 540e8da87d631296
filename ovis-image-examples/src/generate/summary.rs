//! Summary of a run, as JSON.

use std::time::Duration;

use ovis_image::memory::MemoryEstimate;
use ovis_image::pipeline::{DenoisingProfile, StepCacheReport, Timings};
use ovis_image::{GenerationSettings, WeightDtype};
use serde::Serialize;

use crate::shared::lora::AppliedLora;

/// The JSON object of `generate --json`.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Name of the model.
    pub model: String,
    /// Device of the run.
    pub device: String,
    /// Settings that were used; for a grid, those of its last image.
    pub settings: Option<GenerationSettings>,
    /// Seconds per phase.
    pub seconds: Seconds,
    /// LoRAs and which of their modules were applied.
    pub loras: Vec<AppliedLora>,
    /// Time of the steps by kind of block; `null` without `--profile`.
    pub profile: Option<DenoisingProfile>,
    /// Predictions that the step cache skipped; `null` without one.
    pub step_cache: Option<StepCacheReport>,
    /// Estimated memory on the device in bytes.
    pub memory_estimate: MemoryEstimate,
    /// Peak host memory of the process; `null` if the system does not report it.
    pub peak_memory_bytes: Option<u64>,
    /// Images that were written.
    pub files: Vec<String>,
    /// File of tensors, if one was requested.
    pub dump: Option<String>,
}

impl Summary {
    /// Names the device and the precision of weights and, where it is another, of products.
    pub fn place(&self) -> String {
        let Some(settings) = &self.settings else {
            return self.device.clone();
        };
        let products = match settings.dtype {
            WeightDtype::F32 => "",
            _ if self.device.starts_with("flex") => products_of_flex(settings.dtype),
            _ => "",
        };
        format!("{} in {}{products}", self.device, settings.dtype)
    }
}

#[cfg(feature = "flex")]
fn products_of_flex(dtype: WeightDtype) -> &'static str {
    if ovis_image::kernels::InstructionSet::in_use().multiplies(dtype) {
        ""
    } else {
        " with products in f32"
    }
}

#[cfg(not(feature = "flex"))]
fn products_of_flex(_dtype: WeightDtype) -> &'static str {
    ""
}

/// Seconds per phase.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Seconds {
    /// Opening the checkpoint and loading the weights.
    pub load: f64,
    /// Encoding the prompts.
    pub text_encoding: f64,
    /// Encoding the source image.
    pub image_encoding: f64,
    /// Denoising.
    pub denoising: f64,
    /// Decoding the latents.
    pub vae_decoding: f64,
    /// The whole command, including writing the files.
    pub total: f64,
}

impl Seconds {
    /// Converts what the pipeline and the program measured.
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

/// Adds the times of another image.
pub fn add(sum: &mut Timings, timings: &Timings) {
    sum.text_encoding += timings.text_encoding;
    sum.image_encoding += timings.image_encoding;
    sum.denoising += timings.denoising;
    sum.vae_decoding += timings.vae_decoding;
    sum.total += timings.total;
}
