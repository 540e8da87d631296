//! `convert`: writes a checkpoint in another layout, or with a quantized transformer for ComfyUI.

use std::io::Write;
use std::path::PathBuf;

use crate::shared::model::ModelArguments;
use crate::shared::progress::BytesBar;
use anyhow::Result;
use bytesize::ByteSize;
use clap::{Parser, ValueEnum};
use ovis_image::checkpoint::ExportOptions;
use ovis_image::{Layout, Quantization, WeightDtype};

/// Writes a checkpoint in another layout.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// Target layout
    #[arg(long, value_name = "LAYOUT")]
    to: Target,
    /// Folder to create
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Precision of tensors that are not quantized: f32, f16 or bf16 [default: unchanged; bf16 for
    /// dequantized tensors of a GGUF file]
    #[arg(long)]
    dtype: Option<WeightDtype>,
    /// Write the transformer as a GGUF file (with --to comfyui)
    #[arg(long)]
    gguf: bool,
    /// Write a GGUF file with the matrices of the blocks quantized (with --to comfyui): q8_0 (8
    /// bits), q4_0 (4 bits)
    #[arg(long, value_name = "FORMAT")]
    quantize: Option<Quantization>,
    /// Do not --quantize the double blocks, a quarter of the transformer
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
    let checkpoint = arguments.model.resolve()?.open()?;
    let bar = BytesBar::new();
    let report = checkpoint.export_with(&arguments.output, &options, |progress| {
        bar.show("writing", progress.written, progress.total);
    })?;
    drop(bar);
    let mut out = std::io::stdout();
    for (path, bytes) in &report.files {
        let size = ByteSize::b(*bytes).display().si();
        writeln!(out, "{}  {size}", path.display())?;
    }
    if report.left_out > 0 {
        writeln!(out, "{} unused tensors were left out", report.left_out)?;
    }
    for note in &report.notes {
        writeln!(std::io::stderr(), "note: {note}")?;
    }
    Ok(())
}
