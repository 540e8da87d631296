//! The arguments of `generate`.

use std::path::PathBuf;

use anyhow::Result;
use bytesize::ByteSize;
use clap::{ArgAction, Parser};
use ovis_image::device::DeviceSpec;
use ovis_image::vae::VaeTiling;
use ovis_image::{GenerationRequest, LoadOptions, Quantisation, Residency, Schedule, WeightDtype};

use crate::dump;
use crate::lora::LoraArgument;
use crate::model::{Model, ModelArguments};

/// Makes pictures from a prompt with Ovis-Image.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// What the picture shows
    #[arg(long, value_name = "TEXT")]
    pub prompt: String,
    /// What it should not show; unused at a guidance scale of 1 and below
    #[arg(long, value_name = "TEXT")]
    pub negative_prompt: Option<String>,
    /// Denoising steps [default: 50; 20 for the embedded model]
    #[arg(long)]
    pub steps: Option<usize>,
    /// How strongly the prompt is followed; at 1 and below guidance is off [default: 5]
    #[arg(long, value_name = "SCALE", allow_negative_numbers = true)]
    pub guidance_scale: Option<f32>,
    /// Width in pixels, a multiple of 16 [default: 1024; 256 for the embedded model]
    #[arg(long)]
    pub width: Option<usize>,
    /// Height in pixels, a multiple of 16 [default: 1024; 256 for the embedded model]
    #[arg(long)]
    pub height: Option<usize>,
    /// Seed of the initial noise, the same as in Python [default: 42]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Pictures, made at once: image-0.png, image-1.png, …
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub num_images: usize,
    /// Spacing of the noise levels: checkpoint, dynamic, unshifted, shift:N, mu:N, comfyui,
    /// stable-diffusion.cpp
    #[arg(long, default_value_t)]
    pub schedule: Schedule,
    /// `auto`, `flex`, `ndarray`, `wgpu[:N]`, `vulkan[:N]`, `metal[:N]`, `cuda[:N]` or `rocm[:N]`
    #[arg(long, default_value_t)]
    pub device: DeviceSpec,
    /// f32, f16 or bf16 [default: bf16 where the device has it; f32 for the embedded model on a CPU]
    #[arg(long)]
    pub dtype: Option<WeightDtype>,
    /// Leave the text encoder and the modulation's weights in the checkpoint until they are used,
    /// and give their memory back: a third less for the release, and a little slower
    #[arg(long)]
    pub low_memory: bool,
    /// Round the weights of the transformer's blocks when loading: q8_0 (8 bits) or q4_0 (4 bits)
    #[arg(long, value_name = "FORMAT")]
    pub quantize: Option<Quantisation>,
    /// With --quantize: leave the double blocks alone, a quarter of the transformer
    #[arg(long, requires = "quantize")]
    pub protect_double_blocks: bool,
    /// Widen the weights of a GGUF file once, when loading: more memory, quicker steps
    #[arg(long)]
    pub expand_quantized: bool,
    /// How many of the transformer's blocks leave their weights in the checkpoint and are read at
    /// each step, while others compute
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub stream_blocks: usize,
    /// Weights and activations may take so much on the device, for example 8GB: what does not fit
    /// stays in the checkpoint, and large pictures are decoded in tiles
    #[arg(long, value_name = "SIZE")]
    pub max_memory: Option<ByteSize>,
    /// Decode in tiles of so many pixels a side, blended where they overlap: less memory for large
    /// pictures, which come out a little different
    #[arg(long, value_name = "PIXELS")]
    pub vae_tile: Option<usize>,
    /// A LoRA file, PEFT folder or `hf:owner/name/FILE`, and how strongly it acts (1 if not said); can be given several times
    #[arg(long, value_name = "FILE[:SCALE]")]
    pub lora: Vec<LoraArgument>,
    /// Add the LoRAs to the weights: steps cost what they cost without
    #[arg(long, requires = "lora")]
    pub merge_loras: bool,
    /// Where the picture goes
    #[arg(long, value_name = "FILE.png", default_value = "image.png")]
    pub output: PathBuf,
    /// Initial noise in place of a seed's: the tensor `latents`, [images, channels, height / 8,
    /// width / 8]
    #[arg(long, value_name = "FILE.safetensors", conflicts_with = "seed")]
    pub latents: Option<PathBuf>,
    /// Write the tensors between prompt and picture
    #[arg(long, value_name = "FILE.safetensors")]
    pub dump: Option<PathBuf>,
    /// Print one JSON object: settings, seconds per phase, peak memory, files
    #[arg(long)]
    pub json: bool,
    /// More messages on stderr; twice for still more
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Which model.
    #[command(flatten)]
    pub model: ModelArguments,
}

impl Arguments {
    /// How to load the model.
    pub fn load_options(&self, dtype: WeightDtype) -> LoadOptions {
        let residency = match self.low_memory {
            true => Residency::File,
            false => Residency::Device,
        };
        let mut options = LoadOptions::new()
            .dtype(dtype)
            .text_encoder_residency(residency)
            .modulation_residency(residency)
            .protect_double_blocks(self.protect_double_blocks)
            .expand_quantised(self.expand_quantized)
            .streamed_blocks(self.stream_blocks);
        if let Some(quantisation) = self.quantize {
            options = options.quantisation(quantisation);
        }
        options
    }

    /// What to generate; reads the noise, if a file was given.
    ///
    /// # Errors
    /// Those of [`dump::read_latents`].
    pub fn request(&self, model: &Model) -> Result<GenerationRequest> {
        let (side, steps) = model.default_size_and_steps();
        let mut request = GenerationRequest::new(&self.prompt)
            .size(self.width.unwrap_or(side), self.height.unwrap_or(side))
            .num_inference_steps(self.steps.unwrap_or(steps))
            .images_per_prompt(self.num_images)
            .schedule(self.schedule);
        if let Some(prompt) = &self.negative_prompt {
            request = request.negative_prompt(prompt);
        }
        if let Some(scale) = self.guidance_scale {
            request = request.guidance_scale(scale);
        }
        if let Some(seed) = self.seed {
            request = request.seed(seed);
        }
        if let Some(tile) = self.vae_tile {
            request = request.vae_tiling(VaeTiling::new(tile));
        }
        if let Some(path) = &self.latents {
            request = request.latents(dump::read_latents(path)?);
        }
        Ok(request)
    }
}
