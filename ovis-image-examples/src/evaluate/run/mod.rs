//! `evaluate run`: images of a benchmark's prompts, in the folders that its official scorer reads.
//!
//! `work` is what is to be generated, `layouts` makes it from the prompts of each benchmark, and
//! `record` keeps what was done. `generate` does the work.

mod generate;
mod layouts;
pub mod record;
pub mod work;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use clap::ValueEnum;
use ovis_image::{GenerationRequest, Quantization};

use crate::shared::device::DeviceArguments;
use crate::shared::headings;
use crate::shared::lora::LoraArgument;
use crate::shared::model::ModelArguments;
use crate::shared::sampling::SamplingArguments;
use crate::shared::typed;
use crate::shared::usage::UsageError;
pub use generate::run;
use work::{Part, Work};

/// Generates the images of a benchmark.
///
/// Images that exist already are left as they are, so that an interrupted run continues. The first
/// image has the seed --seed, and each further image the next one, in the order of the prompts.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Benchmark
    #[arg(value_name = "BENCH")]
    pub benchmark: Benchmark,
    /// Prompts of the benchmark, as published; see docs/evaluation.md
    #[arg(long, value_name = "PATH")]
    pub prompts: PathBuf,
    /// Folder of the images
    #[arg(short, long, value_name = "DIR")]
    pub output: PathBuf,
    /// Number of images per prompt [default: the benchmark's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub images_per_prompt: Option<u8>,
    /// Seed of the first image; signs have their own [default: 0]
    #[arg(short, long)]
    pub seed: Option<u64>,
    /// Width in pixels [default: the model's]
    #[arg(short = 'W', long)]
    pub width: Option<usize>,
    /// Height in pixels [default: the model's]
    #[arg(short = 'H', long)]
    pub height: Option<usize>,
    /// Number of denoising steps [default: the model's]
    #[arg(short = 'n', long = "steps", value_name = "N")]
    pub steps: Option<usize>,
    /// Number of text tokens [default: the model's]
    #[arg(long, value_name = "TOKENS")]
    pub max_sequence_length: Option<usize>,
    /// Number of prompts in a batch, for benchmarks with one image per prompt
    #[arg(long, value_name = "N", default_value = "1")]
    pub batch_size: NonZeroUsize,
    /// Part of the prompts, for several devices or machines: the first of four is 1/4
    #[arg(long, value_name = "K/N")]
    pub part: Option<Part>,
    /// Number of prompts after which to stop, for a trial
    #[arg(long, value_name = "N")]
    pub limit: Option<NonZeroUsize>,
    /// Name of the model in the paths of the images of `oneig`
    #[arg(long, value_name = "NAME", default_value = "ovis-image")]
    pub model_name: String,
    /// Number of compute threads [default: all]
    #[arg(long)]
    pub threads: Option<NonZeroUsize>,
    /// Quantize the weights of the transformer's blocks to q8_0 (8 bits) or q4_0 (4 bits)
    #[arg(long, value_name = "FORMAT", help_heading = headings::MEMORY, hide_short_help = true)]
    pub quantize: Option<Quantization>,
    /// Model.
    #[command(flatten)]
    pub model: ModelArguments,
    /// Device and precision.
    #[command(flatten)]
    pub device: DeviceArguments,
    /// Sampling.
    #[command(flatten)]
    pub sampling: SamplingArguments,
    /// LoRA to apply, and its strength [default: 1]
    #[arg(long, value_name = "FILE[:SCALE]", help_heading = headings::LORA)]
    pub lora: Vec<LoraArgument>,
}

/// Benchmark whose images can be generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Benchmark {
    /// CVTG-2K: SET/REGIONS/INDEX.png
    Cvtg,
    /// LongText-Bench in English: ID.png, or ID_K.png for several of a prompt
    Longtext,
    /// LongText-Bench in Chinese
    LongtextZh,
    /// GenEval: 00000/samples/0000.png, and four images of each prompt
    Geneval,
    /// DPG-Bench: NAME.png with four images of a prompt, two by two
    Dpg,
    /// OneIG-Bench in English or Chinese: CLASS/MODEL/ID.webp with four images, two by two
    Oneig,
    /// Signs, the benchmark of the small model in this repository: 0000.png
    Signs,
}

impl Benchmark {
    /// Returns the name on the command line.
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

impl Arguments {
    /// Lists what is to be generated, and returns a hash of all prompts, those of other parts
    /// included.
    ///
    /// # Errors
    /// Returns an error if the prompts cannot be read or are those of another benchmark, or if two
    /// of them name one file.
    pub fn work(&self) -> Result<(Work, String)> {
        ensure!(
            self.seed.is_none() || self.benchmark != Benchmark::Signs,
            UsageError(format!(
                "{} cannot be used with signs, whose seeds are in their file",
                typed::name("--seed")
            ))
        );
        let mut work = layouts::work(self)?;
        if let Some(path) = work.repeated_file() {
            bail!(
                "{}: two prompts would write {}",
                self.prompts.display(),
                path.display()
            );
        }
        let prompts = work.hash();
        if let Some(part) = self.part {
            work.keep(part);
        }
        work.tasks
            .truncate(self.limit.map_or(usize::MAX, usize::from));
        Ok((work, prompts))
    }

    /// Returns the request that all images have in common.
    pub fn request(&self) -> GenerationRequest {
        let mut request = self.model.with_defaults(GenerationRequest::new(""));
        let (width, height) = request.size();
        request = request.with_size(self.width.unwrap_or(width), self.height.unwrap_or(height));
        if let Some(steps) = self.steps {
            request = request.with_num_inference_steps(steps);
        }
        request = self.sampling.apply(request);
        if let Some(tokens) = self.max_sequence_length {
            request = request.with_max_sequence_length(tokens);
        }
        request
    }
}
