//! Times this library on a checkpoint, one process per measurement, and prints a line of JSON.
//! Flags and JSON are those of `compare/run_diffusers.py`; `compare/run` runs both.

#![allow(clippy::print_stdout, reason = "its output is read by a program")]

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use burn::tensor::backend::Backend;
use clap::Parser;
use ovis_image::device::{BackendVisitor, DeviceSpec};
use ovis_image::kernels::InstructionSet;
use ovis_image::{
    GenerationOutput, GenerationRequest, LoadOptions, OvisImagePipeline, WeightDtype,
};
use serde_json::{Value, json};

#[derive(Parser)]
#[command(about = "Times this library on a checkpoint and prints a line of JSON")]
struct Args {
    /// Folder of the checkpoint
    #[arg(long)]
    model: PathBuf,
    #[arg(long, default_value = "f32")]
    dtype: WeightDtype,
    /// Device, of the backends that the program was built with
    #[arg(long, default_value = "flex")]
    device: DeviceSpec,
    #[arg(long)]
    prompt: String,
    #[arg(long, default_value = "")]
    negative_prompt: String,
    /// Width and height in pixels
    #[arg(long, default_value_t = 256)]
    size: usize,
    #[arg(long, default_value_t = 4)]
    steps: usize,
    #[arg(long, default_value_t = 5.0)]
    guidance_scale: f32,
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Number of images of the prompt
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Number of timed generations after the first; with 0 the process ends after the first
    #[arg(long, default_value_t = 1)]
    repeats: usize,
    /// Warm up with one step at 64x64 instead of a whole generation
    #[arg(long)]
    short_warm_up: bool,
    /// Instruction set: avx512-bf16, avx512, avx2, neon or portable [default: the CPU's best]
    #[arg(long)]
    instruction_set: Option<InstructionSet>,
    /// Output file of the image: f32, channels x height x width
    #[arg(long)]
    image: Option<PathBuf>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(set) = args.instruction_set {
        set.use_everywhere()?;
    }
    let report = args.device.open()?.visit(Measurement(&args))?;
    println!("{report}");
    Ok(())
}

struct Measurement<'a>(&'a Args);

impl BackendVisitor for Measurement<'_> {
    type Output = Result<Value>;

    fn visit<B: Backend>(self, device: B::Device) -> Result<Value> {
        measure::<B>(self.0, &device)
    }
}

/// Loads the checkpoint, generates, and returns the report.
fn measure<B: Backend>(args: &Args, device: &B::Device) -> Result<Value> {
    let start = Instant::now();
    let options = LoadOptions::new().with_dtype(args.dtype);
    let pipeline = OvisImagePipeline::<B>::from_pretrained(&args.model, options, device)?;
    let load = start.elapsed();

    let request = args.request();
    let warm_up = if args.short_warm_up {
        request
            .clone()
            .with_size(64, 64)
            .with_num_inference_steps(1)
    } else {
        request.clone()
    };
    let image = pipeline.generate(&warm_up)?.image_tensor;
    let first = start.elapsed();
    if let Some(path) = &args.image {
        let bytes = image.into_data().convert::<f32>().bytes;
        std::fs::write(path, &bytes[..]).with_context(|| path.display().to_string())?;
    }

    let mut timed = Vec::with_capacity(args.repeats);
    for _ in 0..args.repeats {
        timed.push(seconds(&pipeline.generate(&request)?, args.steps));
    }
    Ok(json!({
        "program": "ovis-image",
        "versions": { "ovis-image": env!("CARGO_PKG_VERSION") },
        "dtype": args.dtype,
        "device": args.device.to_string(),
        "size": args.size,
        "steps": args.steps,
        "batch": args.batch,
        "instruction_set": InstructionSet::in_use().to_string(),
        "threads": std::thread::available_parallelism()?.get(),
        "load": load.as_secs_f64(),
        "first": first.as_secs_f64(),
        "timed": timed,
        "peak_memory": peak_memory().context("no VmHWM in /proc/self/status")?,
    }))
}

impl Args {
    fn request(&self) -> GenerationRequest {
        GenerationRequest::new(&self.prompt)
            .with_negative_prompt(&self.negative_prompt)
            .with_size(self.size, self.size)
            .with_num_inference_steps(self.steps)
            .with_guidance_scale(self.guidance_scale)
            .with_images_per_prompt(self.batch)
            .with_seed(self.seed)
    }
}

/// Returns the seconds of each phase.
fn seconds<B: Backend>(output: &GenerationOutput<B>, steps: usize) -> Value {
    let timings = &output.timings;
    json!({
        "encode": timings.text_encoding.as_secs_f64(),
        "step": timings.denoising.as_secs_f64() / steps as f64,
        "decode": timings.vae_decoding.as_secs_f64(),
        "total": timings.total.as_secs_f64(),
    })
}

/// Returns the peak of the resident set in bytes, if Linux reports it.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
