//! `inspect`: contents, problems and memory requirements of a checkpoint, without loading it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::shared::error_chain;
use crate::shared::model::{Model, ModelArguments};
use crate::shared::program;
use crate::shared::terminal::{shown, start_log};
use anyhow::Result;
use bytesize::ByteSize;
use clap::Parser;
use ovis_image::checkpoint::PartInspection;
use ovis_image::error::Printable;
use ovis_image::memory::{DeviceMemory, MemoryEstimate};
use ovis_image::{
    Checkpoint, GenerationRequest, Layout, LoadOptions, Quantization, Residency, WeightDtype,
};
use serde::Serialize;

/// Inspects a checkpoint: contents, problems, memory requirements.
///
/// Exit codes: 0 for a checkpoint without problems, 1 for one with problems or if the work failed,
/// 2 if an argument is wrong.
#[derive(Debug, Parser)]
#[command(version, name = "inspect")]
pub struct Arguments {
    /// Checkpoint folder or repository, like --model
    #[arg(value_name = "DIR", conflicts_with = "model")]
    folder: Option<PathBuf>,
    /// Width of the image for which memory is estimated
    #[arg(short = 'W', long, default_value_t = 1024)]
    width: usize,
    /// Height of the image for which memory is estimated
    #[arg(short = 'H', long, default_value_t = 1024)]
    height: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArguments,
}

/// The findings.
#[derive(Serialize)]
struct Report {
    model: String,
    layout: Option<String>,
    parts: [PartInspection; 3],
    problems: Vec<String>,
    memory: Vec<Setting>,
}

/// A way to load the checkpoint.
#[derive(Serialize)]
struct Setting {
    flags: &'static str,
    /// Estimate for a GPU.
    estimate: MemoryEstimate,
    /// Smallest common GPU size in GiB that leaves a tenth of its memory free.
    fits_gpu_gib: Option<u64>,
    /// Peak of the process on a CPU, in bytes.
    cpu_peak: u64,
}

/// Common sizes of GPU memory in GiB.
const GPU_SIZES: [u64; 9] = [4, 6, 8, 12, 16, 24, 32, 48, 80];

/// Prints the findings. The exit code is 1 if the checkpoint has problems.
///
/// # Errors
/// Returns an error if the checkpoint cannot be opened.
pub fn run(mut arguments: Arguments) -> Result<ExitCode> {
    start_log(0);
    if let Some(folder) = arguments.folder.take() {
        arguments.model.model = Some(folder);
    }
    let model = arguments.model.resolve()?;
    let checkpoint = model.open()?;
    let request = GenerationRequest::new("").with_size(arguments.width, arguments.height);
    // Whether the memory of this machine suffices is not asked: the report is about others, too.
    let options = LoadOptions::new().with_memory_limit(u64::MAX);
    request.check(&checkpoint, &options)?;
    let problems: Vec<String> = checkpoint
        .problems()
        .into_iter()
        .map(|problem| error_chain::one_line(&problem.into()))
        .collect();
    let memory = if problems.is_empty() {
        settings(&checkpoint, &request)?
    } else {
        Vec::new()
    };
    let report = Report {
        model: model.name().to_owned(),
        layout: layout(&model),
        parts: checkpoint.inspect(),
        problems,
        memory,
    };
    let text = if arguments.json {
        serde_json::to_string(&report)? + "\n"
    } else {
        report.text(&arguments)
    };
    program::print(text.as_bytes())?;
    let healthy = report.problems.is_empty();
    Ok(ExitCode::from(u8::from(!healthy)))
}

fn layout(model: &Model) -> Option<String> {
    match model {
        Model::Files {
            folder: Some(folder),
            ..
        } => Some(Layout::of(folder).ok()?.to_string()),
        _ => None,
    }
}

fn settings(checkpoint: &Checkpoint, request: &GenerationRequest) -> Result<Vec<Setting>> {
    let bf16 = LoadOptions::new().with_dtype(WeightDtype::BF16);
    let low = bf16
        .with_text_encoder_residency(Residency::File)
        .with_modulation_residency(Residency::File);
    let config = checkpoint.transformer_config();
    let blocks = config.num_layers + config.num_single_layers;
    [
        ("--dtype f32", LoadOptions::new()),
        ("--dtype bf16", bf16),
        ("--dtype bf16 --low-memory", low),
        (
            "--dtype bf16 --low-memory --quantize q8_0",
            low.with_quantization(Quantization::Q8_0),
        ),
        (
            "--dtype bf16 --low-memory --quantize q4_0",
            low.with_quantization(Quantization::Q4_0),
        ),
        (
            "--dtype bf16 --low-memory --stream-blocks all",
            low.with_streamed_blocks(blocks),
        ),
    ]
    .into_iter()
    .map(|(flags, options)| {
        let estimate = |memory| MemoryEstimate::new(checkpoint, &options, request, memory);
        let cpu_peak = estimate(DeviceMemory::Host)?.peak;
        let estimate = estimate(DeviceMemory::Separate)?;
        Ok(Setting {
            flags,
            fits_gpu_gib: GPU_SIZES
                .into_iter()
                .find(|size| estimate.peak < (size << 30) / 10 * 9),
            estimate,
            cpu_peak,
        })
    })
    .collect()
}

impl Report {
    fn text(&self, arguments: &Arguments) -> String {
        let mut text = format!("{}\n", Printable(&self.model));
        // Writing to a string cannot fail.
        if let Some(layout) = &self.layout {
            let _ = writeln!(text, "layout: {layout}");
        }
        for part in &self.parts {
            let bytes: u64 = part.files.iter().map(|(_, bytes)| bytes).sum();
            let _ = writeln!(
                text,
                "\n{}: {}, {} file(s), {}\n  {} parameters in {} tensors{}",
                part.part,
                shown(&part.path),
                part.files.len(),
                size(bytes),
                part.parameters,
                part.tensors - part.ignored_tensors,
                match part.ignored_tensors {
                    0 => String::new(),
                    ignored => format!(", {ignored} more that are ignored"),
                }
            );
            for share in &part.encodings {
                let _ = writeln!(
                    text,
                    "  {:<6} {:>5} tensors  {:>12}",
                    Printable(&share.encoding).to_string(),
                    share.tensors,
                    size(share.bytes)
                );
            }
        }
        if !self.problems.is_empty() {
            let _ = writeln!(text, "\nproblems:");
            for problem in &self.problems {
                let _ = writeln!(text, "{problem}");
            }
            return text;
        }
        let _ = writeln!(
            text,
            "\nno problems\n\nmemory for one image of {}x{}, at most:\n  {:<46} {:>9}  {:>9}",
            arguments.width, arguments.height, "", "on a GPU", "on a CPU"
        );
        for setting in &self.memory {
            let gpu = setting
                .fits_gpu_gib
                .map_or("no common GPU".to_owned(), |size| {
                    format!("a GPU of {size} GiB")
                });
            let _ = writeln!(
                text,
                "  {:<46} {:>9}  {:>9}  {gpu}",
                setting.flags,
                size(setting.estimate.peak),
                size(setting.cpu_peak)
            );
        }
        text
    }
}

fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().si().to_string()
}
