//! The arguments of `generate`.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use bytesize::ByteSize;
use clap::{ArgAction, Parser};
use ovis_image::device::DeviceSpec;
use ovis_image::vae::VaeTiling;
use ovis_image::{GenerationRequest, LoadOptions, Quantization, Residency, WeightDtype};

use crate::dump;
use crate::grid::GridAxis;
use crate::lora::LoraArgument;
use crate::model::{Model, ModelArguments};
use crate::parameters::Parameters;
use crate::png;
use crate::record::{Inputs, Record};
use crate::sampling::SamplingArguments;
use crate::source_image::SourceArguments;

/// Makes pictures from a prompt with Ovis-Image.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// What the picture shows; can be given several times
    #[arg(long, value_name = "TEXT", required_unless_present = "from_image")]
    pub prompt: Vec<String>,
    /// What it should not show; unused at a guidance scale of 1 and below
    #[arg(long, value_name = "TEXT")]
    pub negative_prompt: Option<String>,
    /// Denoising steps [default: 50; 20 for the embedded model]
    #[arg(long)]
    pub steps: Option<usize>,
    /// Width in pixels, a multiple of 16 [default: 1024; 256 for the embedded model]
    #[arg(long)]
    pub width: Option<usize>,
    /// Height in pixels, a multiple of 16 [default: 1024; 256 for the embedded model]
    #[arg(long)]
    pub height: Option<usize>,
    /// Seed of the initial noise, the same as in Python [default: 42]
    #[arg(long)]
    pub seed: Option<u64>,
    /// A seed for each picture, for example 1,2,3: each is what its seed gives alone
    #[arg(long, value_delimiter = ',', conflicts_with = "seed")]
    pub seeds: Vec<u64>,
    /// Pictures of each prompt, made at once: image-0.png, image-1.png, … [default: 1]
    #[arg(long, value_name = "COUNT")]
    pub num_images: Option<usize>,
    /// Pictures side by side in one file with captions, for example seed=1,2,3; a second one goes down:
    /// seed, guidance-scale, steps, sampler, schedule, sigmas, guidance, step-cache, prompt
    #[arg(long, value_name = "SETTING=VALUES", conflicts_with_all = ["num_images", "seeds", "dump", "preview", "from_image"])]
    pub grid: Vec<GridAxis>,
    /// Make a picture of this program again, or as another program's says in its `parameters`; other
    /// arguments change what they say
    #[arg(long, value_name = "FILE.png")]
    pub from_image: Option<PathBuf>,
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
    pub quantize: Option<Quantization>,
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
    #[arg(long, value_name = "FILE.safetensors", conflicts_with_all = ["seed", "seeds"])]
    pub latents: Option<PathBuf>,
    /// After each step, write what the picture is going to be
    #[arg(long, value_name = "FILE.png")]
    pub preview: Option<PathBuf>,
    /// Say where the time goes, by phase and kind of block
    #[arg(long)]
    pub profile: bool,
    /// Write the tensors between prompt and picture
    #[arg(long, value_name = "FILE.safetensors")]
    pub dump: Option<PathBuf>,
    /// Print one JSON object: settings, seconds per phase, peak memory, files
    #[arg(long)]
    pub json: bool,
    /// More messages on stderr; twice for still more
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// How noise becomes a picture.
    #[command(flatten)]
    pub sampling: SamplingArguments,
    /// What to start from.
    #[command(flatten)]
    pub source: SourceArguments,
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
            .with_dtype(dtype)
            .with_text_encoder_residency(residency)
            .with_modulation_residency(residency)
            .with_protected_double_blocks(self.protect_double_blocks)
            .with_dequantize_on_load(self.expand_quantized)
            .with_streamed_blocks(self.stream_blocks);
        if let Some(quantization) = self.quantize {
            options = options.with_quantization(quantization);
        }
        options
    }

    /// Fills in what a picture that shall be made again says, where nothing else was said.
    ///
    /// # Errors
    /// For a picture whose record names what this program does not know.
    pub fn filled_from(mut self, record: &Record) -> Result<Self> {
        let Inputs {
            model,
            transformer,
            vae,
            text_encoder,
            tokenizer,
            loras,
            merge_loras,
            quantize,
            protect_double_blocks,
            init_image,
            mask,
            latents,
        } = record.inputs.clone();
        let own = &mut self.model;
        if !own.is_given() {
            own.model = model;
            own.transformer = transformer;
            own.vae = vae;
            own.text_encoder = text_encoder;
            own.tokenizer = tokenizer;
        }
        if self.lora.is_empty() {
            let read = |text: &String| text.parse();
            let Ok(loras) = loras.iter().map(read).collect();
            self.lora = loras;
            self.merge_loras |= merge_loras;
        }
        if let (None, Some(name)) = (self.quantize, quantize) {
            self.quantize = Some(name.parse()?);
            self.protect_double_blocks |= protect_double_blocks;
        }
        if self.source.init_image.is_none() {
            self.source.init_image = init_image;
            self.source.mask = self.source.mask.take().or(mask);
        }
        let other_noise = self.seed.is_some() || !self.seeds.is_empty();
        if self.latents.is_none() && !other_noise {
            self.latents = latents;
        }
        self.dtype = self.dtype.or(Some(record.settings.dtype));
        Ok(self)
    }

    /// The same from what a picture of another program says, as far as it is known here. Such a picture
    /// comes out alike at best: programs differ in noise and schedules.
    ///
    /// # Errors
    /// For a sampler that this program does not have.
    pub fn filled_from_parameters(mut self, said: &Parameters) -> Result<Self> {
        if self.prompt.is_empty() {
            self.prompt = vec![said.prompt.clone()];
        }
        self.negative_prompt = self
            .negative_prompt
            .or_else(|| said.negative_prompt.clone());
        self.steps = self.steps.or(said.steps);
        self.width = self.width.or(said.width);
        self.height = self.height.or(said.height);
        if self.seeds.is_empty() && self.latents.is_none() {
            self.seed = self.seed.or(said.seed);
        }
        let sampling = &mut self.sampling;
        sampling.guidance_scale = sampling.guidance_scale.or(said.guidance_scale);
        if let (None, Some(name)) = (sampling.sampler, &said.sampler) {
            let known = png::sampler_of_name(name);
            ensure!(
                known.is_some(),
                "the picture was made with the sampler `{name}`, which is not here: give another with --sampler"
            );
            sampling.sampler = known;
        }
        let schedule = said
            .schedule_type
            .as_deref()
            .unwrap_or_default()
            .to_lowercase();
        for word in schedule.split(' ') {
            sampling.sigmas = sampling.sigmas.or(word.parse().ok());
            sampling.schedule = sampling.schedule.or(word.parse().ok());
        }
        Ok(self)
    }

    /// The files that decide what the pictures look like.
    pub fn inputs(&self) -> Inputs {
        Inputs {
            model: self.model.model.clone(),
            transformer: self.model.transformer.clone(),
            vae: self.model.vae.clone(),
            text_encoder: self.model.text_encoder.clone(),
            tokenizer: self.model.tokenizer.clone(),
            loras: self.lora.iter().map(ToString::to_string).collect(),
            merge_loras: self.merge_loras,
            quantize: self.quantize.map(|quantization| quantization.to_string()),
            protect_double_blocks: self.protect_double_blocks,
            init_image: self.source.init_image.clone(),
            mask: self.source.mask.clone(),
            latents: self.latents.clone(),
        }
    }

    /// What to generate: what is asked for, else what the picture that is made again says, else what
    /// suits the model. Reads the noise and the picture to start from, if files were given.
    ///
    /// # Errors
    /// Those of [`dump::read_latents`], [`SourceArguments::read`] and [`Record::request`]; for seeds that
    /// are not as many as the pictures.
    pub fn request(&self, model: &Model, record: Option<&Record>) -> Result<RequestedImages> {
        let (side, steps) = model.default_size_and_steps();
        let before = record.and_then(|record| record.settings.source);
        let source = self.source.read(before)?;
        let (mut request, mut only) = match record {
            Some(record) => {
                let (request, index) = record.request()?;
                (request, Some(index))
            }
            None => {
                let size = source
                    .as_ref()
                    .map(|source| source.size_in_multiples_of(16));
                let (width, height) = size.unwrap_or((side, side));
                let request = GenerationRequest::from_prompts(self.prompt.iter().cloned());
                (
                    request
                        .with_size(width, height)
                        .with_num_inference_steps(steps),
                    None,
                )
            }
        };
        if record.is_some() && !self.prompt.is_empty() {
            request = request.with_prompts(self.prompt.iter().cloned());
            only = None;
        }
        let (width, height) = request.size();
        request = request.with_size(self.width.unwrap_or(width), self.height.unwrap_or(height));
        if let Some(steps) = self.steps {
            request = request.with_num_inference_steps(steps);
        }
        if let Some(prompt) = &self.negative_prompt {
            request = request.with_negative_prompt(prompt);
        }
        if let Some(seed) = self.seed {
            request = request.with_seed(seed);
        }
        if !self.seeds.is_empty() {
            request = request.with_seed_per_image(self.seeds.iter().copied());
            let prompts = request.num_prompts().max(1);
            ensure!(
                self.seeds.len().is_multiple_of(prompts),
                "{} seeds are not the same number for each of {prompts} prompts",
                self.seeds.len()
            );
            request = request.with_images_per_prompt(self.seeds.len() / prompts);
            only = None;
        }
        if let Some(images) = self.num_images {
            request = request.with_images_per_prompt(images);
            only = None;
        }
        if let Some(tile) = self.vae_tile {
            request = request.with_vae_tiling(VaeTiling::new(tile));
        }
        if let Some(path) = &self.latents {
            request = request.with_latents(dump::read_latents(path)?);
        }
        if let Some(source) = source {
            request = request.with_source_image(source);
        }
        request = self.sampling.apply(request).with_profile(self.profile);
        Ok(RequestedImages { request, only })
    }
}

/// A request and which of its pictures are wanted.
#[derive(Debug, Clone)]
pub struct RequestedImages {
    /// What to generate.
    pub request: GenerationRequest,
    /// The one picture that is wanted; all when `None`.
    pub only: Option<usize>,
}

impl RequestedImages {
    /// How many pictures are written.
    pub fn count(&self) -> usize {
        match self.only {
            Some(_) => 1,
            None => self.request.num_images(),
        }
    }
}
