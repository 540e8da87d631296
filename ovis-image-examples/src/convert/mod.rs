//! `convert`: writes a checkpoint in another layout, or with a quantized transformer for ComfyUI.

use std::fmt::Write;
use std::path::PathBuf;

use crate::shared::model::ModelArguments;
use crate::shared::program;
use crate::shared::progress::BytesBar;
use anyhow::Result;
use bytesize::ByteSize;
use clap::{Parser, ValueEnum};
use ovis_image::checkpoint::ExportOptions;
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
pub fn run(arguments: Arguments) -> Result<()> {
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
    let bar = BytesBar::new();
    let report = checkpoint.export_with(&arguments.output, &options, |progress| {
        bar.show("writing", progress.written, progress.total);
    })?;
    drop(bar);
    let mut text = String::new();
    // Writing to a string cannot fail.
    for (path, bytes) in &report.files {
        let size = ByteSize::b(*bytes).display().si();
        let _ = writeln!(text, "{}  {size}", path.display());
    }
    if report.left_out > 0 {
        let _ = writeln!(text, "{} unused tensors were left out", report.left_out);
    }
    for note in &report.notes {
        program::say(&format!("note: {note}"));
    }
    program::print(text.as_bytes())
}
