//! `convert`: writes a checkpoint in another layout, or with a quantized transformer for ComfyUI.

use std::fmt::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use crate::shared::interrupt;
use crate::shared::model::ModelArguments;
use crate::shared::program::{print, say};
use crate::shared::progress::BytesBar;
use crate::shared::terminal::{shown, start_log};
use anyhow::Result;
use bytesize::ByteSize;
use clap::{Parser, ValueEnum};
use ovis_image::checkpoint::ExportOptions;
use ovis_image::error::{OvisImageError, RuntimeError};
use ovis_image::{Layout, Quantization, WeightDtype};

/// Writes a checkpoint in another layout.
///
/// Exit codes: 0 for success, 1 if the work failed, 2 if an argument is wrong.
#[derive(Debug, Parser)]
#[command(version, name = "convert")]
pub struct Arguments {
    /// Checkpoint folder or repository, like --model
    #[arg(value_name = "DIR", conflicts_with = "model")]
    folder: Option<PathBuf>,
    /// Target layout
    #[arg(long, value_name = "LAYOUT")]
    to: Target,
    /// Folder to create
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Precision of tensors that are not quantized: f32, f16 or bf16 [default: unchanged]
    ///
    /// The default for dequantized tensors of a GGUF file is bf16.
    #[arg(long)]
    dtype: Option<WeightDtype>,
    /// Write the transformer as a GGUF file (with --to comfyui)
    #[arg(long)]
    gguf: bool,
    /// Write a GGUF file with quantized blocks (with --to comfyui): q8_0 (8 bits) or q4_0 (4 bits)
    ///
    /// The matrices of the blocks are quantized.
    #[arg(long, value_name = "FORMAT")]
    quantize: Option<Quantization>,
    /// Keep the precision of the double blocks, a quarter of the transformer, under --quantize
    #[arg(long, requires = "quantize")]
    protect_double_blocks: bool,
    #[command(flatten)]
    model: ModelArguments,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Target {
    /// A diffusers folder
    Diffusers,
    /// The authors' files
    Authors,
    /// ComfyUI's split files, with the tokenizer beside them
    Comfyui,
    /// Files of Burn's own format (burn-store), with the tokenizer beside them
    Burnpack,
}

/// Writes the checkpoint that the arguments ask for.
///
/// # Errors
/// Returns the errors of opening the checkpoint and of writing the other.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    start_log(0);
    let layout = match arguments.to {
        Target::Diffusers => Layout::Diffusers,
        Target::Authors => Layout::Authors,
        Target::Comfyui => Layout::ComfyUi,
        Target::Burnpack => Layout::Burnpack,
    };
    let mut options = ExportOptions::new(layout)
        .with_gguf(arguments.gguf)
        .with_protected_double_blocks(arguments.protect_double_blocks);
    if let Some(dtype) = arguments.dtype {
        options = options.with_dtype(dtype);
    }
    if let Some(quantization) = arguments.quantize {
        options = options.with_quantization(quantization);
    }
    let mut model = arguments.model;
    if let Some(folder) = arguments.folder {
        model.model = Some(folder);
    }
    let checkpoint = model.resolve()?.open()?;
    let interrupted = interrupt::flag()?;
    let bar = BytesBar::new();
    let report = checkpoint.export_with(&arguments.output, &options, |progress| {
        bar.show("writing", progress.written, progress.total);
        if interrupted.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    drop(bar);
    let report = match report {
        Err(error @ OvisImageError::Runtime(RuntimeError::ExportCanceled { .. })) => {
            say(&format!("error: {error}"));
            return Ok(ExitCode::from(interrupt::EXIT_CODE));
        }
        report => report?,
    };
    let mut text = String::new();
    // Writing to a string cannot fail.
    for (path, bytes) in &report.files {
        let size = ByteSize::b(*bytes).display().si();
        let _ = writeln!(text, "{}  {size}", shown(path));
    }
    if report.left_out > 0 {
        let _ = writeln!(text, "{} unused tensors were left out", report.left_out);
    }
    for note in &report.notes {
        say(&format!("note: {note}"));
    }
    print(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
