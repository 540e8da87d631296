//! The arguments of `generate`. [`from_image`](super::from_image) fills them in from an image, and
//! [`requested`](super::requested) makes a request from them.

use std::path::PathBuf;

use clap::{ArgAction, Parser};

use super::grid::{GridAxis, GridSetting};
use super::hires::HiresArguments;
use super::memory::MemoryArguments;
use super::prompts::WildcardArguments;
use super::source_image::SourceArguments;
use crate::shared::device::DeviceArguments;
use crate::shared::headings;
use crate::shared::lora::LoraArgument;
use crate::shared::model::ModelArguments;
use crate::shared::record::Inputs;
use crate::shared::sampling::SamplingArguments;
use crate::shared::seed::Seed;
use crate::shared::typed;

/// Generates images from a prompt with Ovis-Image.
///
/// The last value of a repeated flag counts, unless the flag takes several. Exit codes: 0 for
/// success, 1 if the work failed, 2 if an argument is wrong, 130 if it was interrupted.
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
    /// In a prompt, {red|blue} stands for red or blue. Each image draws one of them, from its seed.
    #[arg(short, long, value_name = "TEXT")]
    pub prompt: Vec<String>,
    /// File with a prompt on each line, or - for stdin
    ///
    /// Blank lines are skipped. The images are generated one after another, with the same seeds for
    /// each prompt, and are numbered.
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
    /// The extension chooses the format: .png, .jpg or .webp. `-` writes a PNG to standard output.
    /// {seed}, {index} and {prompt} are replaced by the values of each image. Without them, several
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
    /// Must be a multiple of 16. The default is 128 for the embedded model, and the width of
    /// --init-image if there is one.
    #[arg(short = 'W', long)]
    pub width: Option<usize>,
    /// Height in pixels [default: 1024]
    ///
    /// Must be a multiple of 16. The default is 128 for the embedded model, and the height of
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
    /// A seed gives the same noise as in diffusers. random or -1 chooses a seed, which is printed and
    /// recorded.
    #[arg(short, long, allow_negative_numbers = true)]
    pub seed: Option<Seed>,
    /// Seeds of the images, for example 1,2,3
    ///
    /// Generates an image for each seed, the same one that --seed would give.
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
    /// image. The default is 64 for the embedded model.
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
    /// Memory arguments.
    #[command(flatten)]
    pub memory: MemoryArguments,
    /// Generate an image again from its record
    ///
    /// Other arguments override the record. If the image was made by another program, the settings
    /// in its text `parameters` are used.
    #[arg(long, value_name = "IMAGE", help_heading = headings::RECORDS)]
    pub from_image: Option<PathBuf>,
    /// Load all files and repositories that the record of --from-image names
    ///
    /// Without this flag, only files in the folder of the image are read, because whoever made the
    /// image chose the names.
    #[arg(long, requires = "from_image", help_heading = headings::RECORDS, hide_short_help = true)]
    pub trust_image: bool,
    /// Compare settings in one image: seed=1,2,3
    ///
    /// Places a captioned image for each value side by side; a second --grid adds rows. Settings:
    /// seed, guidance-scale, steps, sampler, schedule, sigmas, guidance, step-cache, prompt. Quote a
    /// value that contains commas: 'prompt="a cat, asleep",a dog'.
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
    /// Write the intermediate tensors to a file
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
    /// Print the seconds of each phase and kind of block
    #[arg(long, help_heading = headings::RECORDS, hide_short_help = true)]
    pub profile: bool,
    /// The model.
    #[command(flatten)]
    pub model: ModelArguments,
}

impl Arguments {
    /// Lets messages name the prompt without a flag, or `--grid`, if a setting comes from there.
    pub fn name_settings(&self) {
        if self.text.is_some() {
            typed::remember_as("--prompt", "PROMPT".to_owned());
        }
        for axis in &self.grid {
            let words = format!("--grid {}", axis.setting);
            typed::remember_as(&format!("--{}", axis.setting), words);
        }
    }

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
            quantize: self
                .memory
                .quantize
                .map(|quantization| quantization.to_string()),
            protect_double_blocks: self.memory.protect_double_blocks,
            init_image: self.source.init_image.clone(),
            mask: self.source.mask.clone(),
            latents: self.latents.clone(),
        }
    }
}
