//! The arguments of `generate`.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use bytesize::ByteSize;
use clap::{ArgAction, Parser};
use ovis_image::vae::VaeTiling;
use ovis_image::{GenerationRequest, LoadOptions, Quantization, Residency, WeightDtype};

use super::dump;
use super::grid::GridAxis;
use super::source_image::SourceArguments;
use crate::shared::device::DeviceArguments;
use crate::shared::lora::LoraArgument;
use crate::shared::model::{Model, ModelArguments};
use crate::shared::record::hashes::{Hashes, sha256};
use crate::shared::record::parameters::Parameters;
use crate::shared::record::{Inputs, Record, names};
use crate::shared::sampling::SamplingArguments;

/// Generates images from a prompt with Ovis-Image.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// Description of the image; can be given several times
    #[arg(long, value_name = "TEXT", required_unless_present = "from_image")]
    pub prompt: Vec<String>,
    /// Description of what to avoid; unused at a guidance scale of 1 and below
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
    /// Seeds of the images, for example 1,2,3: each image is the one that its seed gives alone
    #[arg(long, value_delimiter = ',', conflicts_with = "seed")]
    pub seeds: Vec<u64>,
    /// Number of images per prompt, in one batch: image-0.png, image-1.png, … [default: 1]
    #[arg(long, value_name = "COUNT")]
    pub num_images: Option<usize>,
    /// Images side by side in one file with captions, for example seed=1,2,3; a second one goes
    /// down: seed, guidance-scale, steps, sampler, schedule, sigmas, guidance, step-cache, prompt
    #[arg(long, value_name = "SETTING=VALUES", conflicts_with_all = ["num_images", "seeds", "dump", "preview", "from_image"])]
    pub grid: Vec<GridAxis>,
    /// Make an image of this program again, or one as another program's `parameters` describe it;
    /// other arguments override what the file says
    #[arg(long, value_name = "FILE.png")]
    pub from_image: Option<PathBuf>,
    /// Let --from-image load what the image names, also from outside its folder and from the Hub
    #[arg(long, requires = "from_image")]
    pub trust_image: bool,
    /// Where the model runs.
    #[command(flatten)]
    pub device: DeviceArguments,
    /// Leave the text encoder and the modulation weights in the checkpoint until they are used, and
    /// free their memory afterwards: a third less memory for the release, a little slower
    #[arg(long)]
    pub low_memory: bool,
    /// Quantize the weights of the transformer's blocks when loading: q8_0 (8 bits), q4_0 (4 bits)
    #[arg(long, value_name = "FORMAT")]
    pub quantize: Option<Quantization>,
    /// Do not --quantize the double blocks, a quarter of the transformer
    #[arg(long, requires = "quantize")]
    pub protect_double_blocks: bool,
    /// Dequantize the weights of a GGUF file once, when loading: more memory, faster steps
    #[arg(long)]
    pub expand_quantized: bool,
    /// Number of transformer blocks to stream: their weights stay in the checkpoint and are read at
    /// each step, while others compute
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub stream_blocks: usize,
    /// Limit for weights and activations on the device, for example 8GB. Applies only as much
    /// offloading, tiling and streaming as the limit requires
    #[arg(long, value_name = "SIZE")]
    pub max_memory: Option<ByteSize>,
    /// Decode in tiles of this side, blended where they overlap: less memory for large images,
    /// which come out slightly different
    #[arg(long, value_name = "PIXELS")]
    pub vae_tile: Option<usize>,
    /// LoRA to apply: a file, PEFT folder or `hf:owner/name/FILE`, and its strength [default: 1];
    /// can be given several times
    #[arg(long, value_name = "FILE[:SCALE]")]
    pub lora: Vec<LoraArgument>,
    /// Merge the LoRAs into the weights: steps are as fast as without LoRAs
    #[arg(long, requires = "lora")]
    pub merge_loras: bool,
    /// Output file
    #[arg(long, value_name = "FILE.png", default_value = "image.png")]
    pub output: PathBuf,
    /// Initial noise instead of a seed's: the tensor `latents`, [images, channels, height / 8,
    /// width / 8]
    #[arg(long, value_name = "FILE.safetensors", conflicts_with_all = ["seed", "seeds"])]
    pub latents: Option<PathBuf>,
    /// Write a preview after each step
    #[arg(long, value_name = "FILE.png")]
    pub preview: Option<PathBuf>,
    /// Report where the time goes, by phase and kind of block
    #[arg(long)]
    pub profile: bool,
    /// Write the tensors between prompt and image
    #[arg(long, value_name = "FILE.safetensors")]
    pub dump: Option<PathBuf>,
    /// Print one JSON object: settings, seconds per phase, peak memory, files
    #[arg(long)]
    pub json: bool,
    /// Show more messages on stderr; give it twice for debugging messages
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Sampling arguments.
    #[command(flatten)]
    pub sampling: SamplingArguments,
    /// The image to start from.
    #[command(flatten)]
    pub source: SourceArguments,
    /// The model.
    #[command(flatten)]
    pub model: ModelArguments,
}

impl Arguments {
    /// Returns the options to load the model with.
    pub fn load_options(&self, dtype: WeightDtype) -> LoadOptions {
        let residency = if self.low_memory {
            Residency::File
        } else {
            Residency::Device
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

    /// Fills in the arguments that were not given from the record of an image to make again.
    ///
    /// # Errors
    /// Returns an error if the record names something that this program does not know.
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
        self.device.dtype = self.device.dtype.or(Some(record.settings.dtype));
        Ok(self)
    }

    /// Fills in the arguments that were not given from the text of another program's image. The
    /// result is similar at best, because programs differ in noise and schedules.
    ///
    /// # Errors
    /// Returns an error if the image was made with a sampler or schedule that this program does not
    /// have, unless another was given.
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
        let mut schedules = Vec::new();
        if let Some(name) = &said.sampler {
            let known = names::sampler(name);
            if sampling.sampler.is_none() {
                let known = known.with_context(|| {
                    format!(
                        "the image was made with the sampler `{name}`, which is not supported here: choose \
                         another with --sampler"
                    )
                })?;
                sampling.sampler = Some(known.kind);
            }
            schedules.extend(known.and_then(|known| known.schedule));
        }
        if let Some(name) = &said.schedule_type {
            match names::schedule(name) {
                Some(known) => schedules.insert(0, known),
                None if sampling.sigmas.is_some() => {}
                None => bail!(
                    "the image was made with the schedule `{name}`, which is not supported here: choose \
                     another with --sigmas"
                ),
            }
        }
        for known in schedules {
            sampling.sigmas = sampling.sigmas.or(known.spacing);
            sampling.schedule = sampling.schedule.or(known.schedule);
        }
        Ok(self)
    }

    /// Lists the files and options that affect the images and are not part of the settings.
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

    /// Makes the request from the arguments, then from the record of an image to make again, then
    /// from the defaults of the model. Reads the files of the initial noise and of the image to
    /// start from.
    ///
    /// # Errors
    /// Returns the errors of [`dump::read_latents`], [`SourceArguments::read`] and
    /// [`Record::request`], and an error if the number of seeds is not a multiple of the number of
    /// prompts.
    pub fn request(&self, model: &Model, record: Option<&Record>) -> Result<RequestedImages> {
        let (side, steps) = model.default_size_and_steps();
        let before = record.and_then(|record| record.settings.source);
        let mut hashes = Hashes::default();
        let source = self.source.read(before)?.map(|read| {
            hashes.init_image = Some(read.image_sha256);
            hashes.mask = read.mask_sha256;
            read.source
        });
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
                "{} seeds cannot be divided among {prompts} prompts",
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
            let latents = dump::read_latents(path, most_latents(&request))?;
            hashes.latents = Some(sha256(latents.as_bytes()));
            request = request.with_latents(latents);
        }
        if let Some(source) = source {
            request = request.with_source_image(source);
        }
        request = self.sampling.apply(request).with_profile(self.profile);
        Ok(RequestedImages {
            request,
            only,
            hashes,
        })
    }
}

/// Returns the number of elements that the latents of a request cannot exceed: those of its images,
/// and a gigabyte.
fn most_latents(request: &GenerationRequest) -> usize {
    const MOST: usize = (1 << 30) / size_of::<f32>();
    let (width, height) = request.size();
    [width, height, request.num_images()]
        .into_iter()
        .fold(3, usize::saturating_mul)
        .min(MOST)
}

/// A request, and which of its images to write.
#[derive(Debug, Clone)]
pub struct RequestedImages {
    /// The request.
    pub request: GenerationRequest,
    /// The one image to write; `None` for all.
    pub only: Option<usize>,
    /// Hashes of the source image, the mask and the initial noise.
    pub hashes: Hashes,
}

impl RequestedImages {
    /// Counts the images to write.
    pub fn count(&self) -> usize {
        match self.only {
            Some(_) => 1,
            None => self.request.num_images(),
        }
    }
}
