//! What a checkpoint holds and what it takes to run it, without loading it.

use std::fmt::Write as _;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;
use bytesize::ByteSize;
use clap::Parser;
use ovis_image::checkpoint::PartInspection;
use ovis_image::memory::{DeviceMemory, MemoryEstimate};
use ovis_image::{
    Checkpoint, GenerationRequest, Layout, LoadOptions, Quantization, Residency, WeightDtype,
};
use ovis_image_examples::error_chain;
use ovis_image_examples::model::{Model, ModelArguments};
use serde::Serialize;

/// Says what a checkpoint holds, what is wrong with it, and what it takes to run it.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Width of the picture that memory is estimated for
    #[arg(long, default_value_t = 1024)]
    width: usize,
    /// Height of the picture that memory is estimated for
    #[arg(long, default_value_t = 1024)]
    height: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArguments,
}

/// All that is found.
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
    /// With a GPU.
    estimate: MemoryEstimate,
    /// The smallest of the usual sizes of GPUs, in GiB, that the estimate leaves a tenth of.
    fits_gpu_gib: Option<u64>,
    /// Peak of the process on a CPU.
    cpu_peak: u64,
}

/// Sizes of GPUs' memory, GiB.
const GPU_SIZES: [u64; 9] = [4, 6, 8, 12, 16, 24, 32, 48, 80];

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(healthy) => ExitCode::from(u8::from(!healthy)),
        Err(error) => {
            let _ = writeln!(
                std::io::stderr(),
                "error: {}",
                error_chain::one_line(&error)
            );
            ExitCode::FAILURE
        }
    }
}

/// Whether no problem was found.
fn run(arguments: &Arguments) -> Result<bool> {
    let model = arguments.model.resolve()?;
    let checkpoint = model.open()?;
    let problems: Vec<String> = checkpoint
        .problems()
        .iter()
        .map(ToString::to_string)
        .collect();
    let memory = match problems.is_empty() {
        true => settings(&checkpoint, arguments)?,
        false => Vec::new(),
    };
    let report = Report {
        model: model.name().to_owned(),
        layout: layout(&model),
        parts: checkpoint.inspect(),
        problems,
        memory,
    };
    let text = match arguments.json {
        true => serde_json::to_string(&report)? + "\n",
        false => report.text(arguments),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(report.problems.is_empty())
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

fn settings(checkpoint: &Checkpoint, arguments: &Arguments) -> Result<Vec<Setting>> {
    let bf16 = LoadOptions::new().dtype(WeightDtype::BF16);
    let low = bf16
        .text_encoder_residency(Residency::File)
        .modulation_residency(Residency::File);
    let config = checkpoint.transformer_config();
    let blocks = config.num_layers + config.num_single_layers;
    let request = GenerationRequest::new("").size(arguments.width, arguments.height);
    [
        ("--dtype f32", LoadOptions::new()),
        ("--dtype bf16", bf16),
        ("--dtype bf16 --low-memory", low),
        (
            "--dtype bf16 --low-memory --quantize q8_0",
            low.quantization(Quantization::Q8_0),
        ),
        (
            "--dtype bf16 --low-memory --quantize q4_0",
            low.quantization(Quantization::Q4_0),
        ),
        (
            "--dtype bf16 --low-memory, all blocks streamed",
            low.streamed_blocks(blocks),
        ),
    ]
    .into_iter()
    .map(|(flags, options)| {
        let estimate = |memory| MemoryEstimate::new(checkpoint, &options, &request, memory);
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
        let mut text = format!("{}\n", self.model);
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
                part.path.display(),
                part.files.len(),
                size(bytes),
                part.parameters,
                part.tensors - part.ignored_tensors,
                match part.ignored_tensors {
                    0 => String::new(),
                    ignored => format!(", {ignored} more that are not read"),
                }
            );
            for share in &part.encodings {
                let _ = writeln!(
                    text,
                    "  {:<6} {:>5} tensors  {:>12}",
                    share.encoding,
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
                .map_or("no usual GPU".to_owned(), |size| {
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
