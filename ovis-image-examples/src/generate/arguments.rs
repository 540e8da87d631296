//! The arguments of `generate`.

use std::ops::Range;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use bytesize::ByteSize;
use clap::{ArgAction, Parser};
use ovis_image::vae::VaeTiling;
use ovis_image::{GenerationRequest, LoadOptions, Quantization, Residency, WeightDtype};

use super::dump;
use super::grid::{GridAxis, GridSetting};
use super::hires::HiresArguments;
use super::prompts::{DrawnRequest, WildcardArguments};
use super::source_image::SourceArguments;
use crate::shared::device::DeviceArguments;
use crate::shared::lora::LoraArgument;
use crate::shared::model::ModelArguments;
use crate::shared::record::hashes::{Hashes, sha256};
use crate::shared::record::parameters::Parameters;
use crate::shared::record::{Inputs, PromptTemplate, Record, names, second_pass};
use crate::shared::sampling::SamplingArguments;
use crate::shared::seed::Seed;
use crate::shared::usage::UsageError;
use crate::shared::{headings, threads};

/// Generates images from a prompt with Ovis-Image.
///
/// The last value of a repeated flag counts, unless the flag takes several. Exit codes: 0 for
/// success, 1 if the work failed, 2 if an argument is wrong.
#[derive(Debug, Parser)]
#[command(version, name = "generate")]
pub struct Arguments {
    /// Description of the image
    #[arg(
        value_name = "PROMPT",
        required_unless_present_any = ["prompt", "prompt_file", "from_image", "grid"]
    )]
    pub text: Option<String>,
    /// Description of the image; can be repeated
    ///
    /// {red|blue} is red or blue, drawn for each image from its seed.
    #[arg(short, long, value_name = "TEXT")]
    pub prompt: Vec<String>,
    /// File with a prompt on each line, or - for stdin
    ///
    /// Blank lines are left out. The images are made one after another, each from the same seed,
    /// and are numbered.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["text", "prompt", "grid", "dump"]
    )]
    pub prompt_file: Option<PathBuf>,
    /// Description of what to avoid
    ///
    /// It has no effect at a guidance scale of 1 and below.
    #[arg(long, value_name = "TEXT")]
    pub negative_prompt: Option<String>,
    /// Output file [default: image.png]
    ///
    /// The ending chooses the format: .png, .jpg or .webp. - writes a PNG to standard output.
    /// {seed}, {index} and {prompt} are replaced by those of each image. Without them, several
    /// images are numbered: image-0.png, image-1.png.
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "image.png",
        hide_default_value = true
    )]
    pub output: PathBuf,
    /// Width in pixels [default: 1024]
    ///
    /// Must be a multiple of 16. The default is 256 for the embedded model, and the width of
    /// --init-image if there is one.
    #[arg(short = 'W', long)]
    pub width: Option<usize>,
    /// Height in pixels [default: 1024]
    ///
    /// Must be a multiple of 16. The default is 256 for the embedded model, and the height of
    /// --init-image if there is one.
    #[arg(short = 'H', long)]
    pub height: Option<usize>,
    /// Denoising steps [default: 50]
    ///
    /// The default is 20 for the embedded model.
    #[arg(long)]
    pub steps: Option<usize>,
    /// Seed of the noise, or random [default: 42]
    ///
    /// A seed gives the same noise as in Python. random or -1 chooses a seed, which is printed and
    /// recorded.
    #[arg(short, long, allow_negative_numbers = true)]
    pub seed: Option<Seed>,
    /// Seeds of the images, for example 1,2,3
    ///
    /// Makes an image for each seed, the same one that --seed makes.
    #[arg(
        long,
        value_delimiter = ',',
        allow_negative_numbers = true,
        conflicts_with = "seed",
        hide_short_help = true
    )]
    pub seeds: Vec<Seed>,
    /// Images per prompt, in one batch [default: 1]
    #[arg(long, value_name = "COUNT")]
    pub num_images: Option<usize>,
    /// Where the model runs.
    #[command(flatten)]
    pub device: DeviceArguments,
    /// Show more messages; -vv for debugging messages
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Sampling arguments.
    #[command(flatten)]
    pub sampling: SamplingArguments,
    /// Number of text tokens that the transformer reads, from 1 to 256 [default: 256]
    ///
    /// Longer prompts are truncated, shorter ones padded. Fewer tokens are faster and give another
    /// image.
    #[arg(long, value_name = "TOKENS", help_heading = headings::SAMPLING, hide_short_help = true)]
    pub max_sequence_length: Option<usize>,
    /// The image to start from.
    #[command(flatten)]
    pub source: SourceArguments,
    /// The second pass.
    #[command(flatten)]
    pub hires: HiresArguments,
    /// Wildcards in prompts.
    #[command(flatten)]
    pub wildcards: WildcardArguments,
    /// LoRA to apply, and its strength [default: 1]
    ///
    /// A LoRA is a file, a PEFT folder or a file of the Hub: hf:owner/name/FILE. Can be repeated.
    #[arg(long, value_name = "FILE[:SCALE]", help_heading = headings::LORA)]
    pub lora: Vec<LoraArgument>,
    /// Merge the LoRAs into the weights: steps are as fast as without LoRAs
    #[arg(long, requires = "lora", help_heading = headings::LORA, hide_short_help = true)]
    pub merge_loras: bool,
    /// Memory limit on the device, for example 8GB
    ///
    /// The limit covers weights and activations. Applies only as much offloading, tiling and
    /// streaming as the limit requires. A number without a unit is in bytes.
    #[arg(long, value_name = "SIZE", help_heading = headings::MEMORY)]
    pub max_memory: Option<ByteSize>,
    /// Read some of the weights only when they are used
    ///
    /// The text encoder and the modulation weights stay in the checkpoint until they are used, and
    /// their memory is freed afterwards: a third less memory for the release, a little slower.
    #[arg(long, help_heading = headings::MEMORY)]
    pub low_memory: bool,
    /// Quantize to q8_0 (8 bits) or q4_0 (4 bits)
    ///
    /// The weights of the transformer's blocks are quantized when loading.
    #[arg(long, value_name = "FORMAT", help_heading = headings::MEMORY)]
    pub quantize: Option<Quantization>,
    /// Keep the precision of the double blocks, a quarter of the transformer, under --quantize
    #[arg(long, requires = "quantize", help_heading = headings::MEMORY, hide_short_help = true)]
    pub protect_double_blocks: bool,
    /// Dequantize the weights of a GGUF file once, when loading: more memory, faster steps
    #[arg(long, help_heading = headings::MEMORY, hide_short_help = true)]
    pub expand_quantized: bool,
    /// Number of transformer blocks to stream, or all
    ///
    /// Their weights stay in the checkpoint and are read at each step, while others compute.
    #[arg(
        long,
        value_name = "COUNT",
        value_parser = streamed_blocks,
        help_heading = headings::MEMORY,
        hide_short_help = true
    )]
    pub stream_blocks: Option<usize>,
    /// Decode in tiles of this side, which takes less memory for large images
    ///
    /// Tiles are blended where they overlap, so the image comes out slightly different.
    #[arg(long, value_name = "PIXELS", help_heading = headings::MEMORY, hide_short_help = true)]
    pub vae_tile: Option<usize>,
    /// Number of CPU threads [default: all cores]
    #[arg(
        long,
        value_name = "COUNT",
        value_parser = clap::value_parser!(u16).range(1..=threads::MOST_THREADS),
        help_heading = headings::MEMORY
    )]
    pub threads: Option<u16>,
    /// Make an image again from its record
    ///
    /// Other arguments override what the image says. From another program's image, the settings in
    /// its text `parameters` are taken.
    #[arg(long, value_name = "IMAGE", help_heading = headings::RECORDS)]
    pub from_image: Option<PathBuf>,
    /// Load what --from-image names, wherever it is
    ///
    /// Without it, only files in the image's own folder are read: whoever made the image chose the
    /// files and repositories that it names.
    #[arg(long, requires = "from_image", help_heading = headings::RECORDS, hide_short_help = true)]
    pub trust_image: bool,
    /// Compare settings in one image: seed=1,2,3
    ///
    /// There is one captioned image for each value, side by side. A second --grid goes down.
    /// Settings: seed, guidance-scale, steps, sampler, schedule, sigmas, guidance, step-cache,
    /// prompt. A value with commas is quoted: 'prompt="a cat, asleep",a dog'.
    #[arg(
        long,
        value_name = "SETTING=VALUES",
        conflicts_with_all = ["num_images", "seeds", "dump", "preview", "from_image"],
        help_heading = headings::RECORDS
    )]
    pub grid: Vec<GridAxis>,
    /// Write a preview after each step
    #[arg(long, value_name = "FILE.png", help_heading = headings::RECORDS)]
    pub preview: Option<PathBuf>,
    /// Print a summary as JSON
    ///
    /// Prints one JSON object on one line: settings, seconds per phase, peak memory, files.
    #[arg(long, help_heading = headings::RECORDS)]
    pub json: bool,
    /// Leave the settings out of the image file
    #[arg(long, help_heading = headings::RECORDS)]
    pub no_metadata: bool,
    /// Initial noise from a file instead of a seed
    ///
    /// The file has the tensor `latents`, or `latents_in` as --dump writes it: [images, channels,
    /// height / 8, width / 8].
    #[arg(
        long,
        value_name = "FILE.safetensors",
        conflicts_with_all = ["seed", "seeds"],
        help_heading = headings::RECORDS,
        hide_short_help = true
    )]
    pub latents: Option<PathBuf>,
    /// Write the tensors between prompt and image
    ///
    /// Tensors: input_ids, attention_mask, prompt_embeds, negative_prompt_embeds, sigmas,
    /// latents_in (the initial noise), latents_out, image.
    #[arg(
        long,
        value_name = "FILE.safetensors",
        help_heading = headings::RECORDS,
        hide_short_help = true
    )]
    pub dump: Option<PathBuf>,
    /// Report where the time goes, by phase and kind of block
    #[arg(long, help_heading = headings::RECORDS, hide_short_help = true)]
    pub profile: bool,
    /// The model.
    #[command(flatten)]
    pub model: ModelArguments,
}

/// Reads the value of `--stream-blocks`. The library streams at most as many as there are.
fn streamed_blocks(text: &str) -> Result<usize, String> {
    if text.eq_ignore_ascii_case("all") {
        return Ok(usize::MAX);
    }
    text.parse()
        .map_err(|_| format!("`{text}` is neither a number nor `all`"))
}

impl Arguments {
    /// Joins the places where prompts are given: the prompt without a flag comes first, and `lines`
    /// or a grid of prompts begins with the first of them.
    pub fn with_prompts_joined(mut self, lines: Option<&[String]>) -> Self {
        if let Some(text) = self.text.take() {
            self.prompt.insert(0, text);
        }
        if self.prompt.is_empty() {
            let of_prompts = |axis: &&GridAxis| axis.setting == GridSetting::Prompt;
            let of_grid = self
                .grid
                .iter()
                .find(of_prompts)
                .map(|axis| &axis.values[..]);
            let first = lines.or(of_grid).and_then(|prompts| prompts.first());
            self.prompt.extend(first.cloned());
        }
        self
    }

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
            .with_streamed_blocks(self.stream_blocks.unwrap_or(0));
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
        self.wildcards.is_prompt_drawn = self.prompt.is_empty();
        self.wildcards.is_negative_prompt_drawn = self.negative_prompt.is_none();
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
            self.wildcards.is_prompt_drawn = true;
        }
        self.wildcards.is_negative_prompt_drawn = self.negative_prompt.is_none();
        self.negative_prompt = self
            .negative_prompt
            .or_else(|| said.negative_prompt.clone());
        self.steps = self.steps.or(said.steps);
        self.width = self.width.or(said.width);
        self.height = self.height.or(said.height);
        if self.seeds.is_empty() && self.latents.is_none() {
            self.seed = self.seed.or(said.seed.map(Seed::from));
        }
        if let Some(second_pass) = second_pass::read(said) {
            self.hires = self.hires.filled_from(second_pass);
        }
        let sampling = &mut self.sampling;
        sampling.guidance_scale = sampling.guidance_scale.or(said.guidance_scale);
        let mut schedules = Vec::new();
        if let Some(name) = &said.sampler {
            let known = names::sampler(name);
            if sampling.sampler.is_none() {
                let known = known.with_context(|| {
                    UsageError(format!(
                        "the image was made with the sampler `{name}`, which is not supported here: choose \
                         another with --sampler"
                    ))
                })?;
                sampling.sampler = Some(known.kind.into());
            }
            schedules.extend(known.and_then(|known| known.schedule));
        }
        if let Some(name) = &said.schedule_type {
            match names::schedule(name) {
                Some(known) => schedules.insert(0, known),
                None if sampling.sigmas.is_some() => {}
                None => bail!(UsageError(format!(
                    "the image was made with the schedule `{name}`, which is not supported here: choose \
                     another with --sigmas"
                ))),
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
    pub fn request(&self, record: Option<&Record>) -> Result<RequestedImages> {
        let (side, steps) = self.model.default_size_and_steps();
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
            request = request.with_seed(seed.value);
        }
        if !self.seeds.is_empty() {
            request = request.with_seed_per_image(self.seeds.iter().map(|seed| seed.value));
            let prompts = request.num_prompts().max(1);
            ensure!(
                self.seeds.len().is_multiple_of(prompts),
                UsageError(format!(
                    "{} seeds cannot be divided among {prompts} prompts",
                    self.seeds.len()
                ))
            );
            request = request.with_images_per_prompt(self.seeds.len() / prompts);
            only = None;
        }
        if let Some(images) = self.num_images {
            request = request.with_images_per_prompt(images);
            only = None;
        }
        if let Some(tokens) = self.max_sequence_length {
            request = request.with_max_sequence_length(tokens);
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
        request = self.hires.apply(request)?;
        let template = record.map(|record| record.template.clone());
        Ok(RequestedImages {
            request,
            only,
            template: template.unwrap_or_default(),
            hashes,
        })
    }

    /// Draws the wildcards in the prompts of requests.
    ///
    /// # Errors
    /// Returns the errors of [`WildcardArguments::draw_all`].
    pub fn draw(
        &self,
        requests: Vec<GenerationRequest>,
        requested: &RequestedImages,
    ) -> Result<Vec<DrawnRequest>> {
        self.wildcards.draw_all(requests, &requested.template)
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
    /// Prompts of an image that is made again, as they were written.
    pub template: PromptTemplate,
    /// Hashes of the source image, the mask and the initial noise.
    pub hashes: Hashes,
}

impl RequestedImages {
    /// Returns the places in the batch of the images to write.
    pub fn places(&self) -> Range<usize> {
        match self.only {
            Some(only) => only..only + 1,
            None => 0..self.request.num_images(),
        }
    }
}
