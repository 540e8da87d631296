//! `convert`: writes a checkpoint in another layout, with LoRAs merged or a quantized transformer if
//! requested, or a LoRA in another key format.

mod adapter;
#[cfg(feature = "extract-lora")]
mod extract;
mod interruptible;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use self::interruptible::interruptible;
use crate::shared::interrupt;
use crate::shared::lora::{self, LoraArgument};
use crate::shared::model::ModelArguments;
use crate::shared::output_file;
use crate::shared::program::{print, say};
use crate::shared::terminal::{shown, start_log};
use crate::shared::typed;
use crate::shared::usage::UsageError;
use anyhow::{Result, bail};
use bytesize::ByteSize;
use clap::{Parser, ValueEnum};
use ovis_image::checkpoint::ExportOptions;
use ovis_image::{Layout, LoraFile, LoraFormat, Quantization, WeightDtype};

/// Writes a checkpoint in another layout, or a LoRA in another key format.
///
/// --to chooses the layout of a checkpoint, --format the keys of a LoRA, and --extract-lora makes a
/// LoRA from two checkpoints. Exit codes: 0 for success, 1 if the work failed, 2 if an argument is
/// wrong, 130 if it was interrupted.
#[derive(Debug, Parser)]
#[command(version, name = "convert")]
pub struct Arguments {
    /// Checkpoint folder or repository, like --model
    #[arg(value_name = "DIR", conflicts_with = "model")]
    folder: Option<PathBuf>,
    /// Target layout
    #[arg(long, value_name = "LAYOUT")]
    to: Option<Target>,
    /// Folder to create, or LoRA file to create with --format or --extract-lora
    #[arg(short, long, value_name = "PATH")]
    output: PathBuf,
    /// LoRA to merge into the transformer, with its scale [default: 1]; may be repeated
    #[arg(long, value_name = "FILE[:SCALE]")]
    lora: Vec<LoraArgument>,
    /// Write the LoRA itself in another key format instead: peft, kohya or comfyui
    ///
    /// The LoRA must be made for the model that is named, by default for the 7B release.
    #[arg(long, conflicts_with_all = ["to", "dtype", "gguf", "quantize"])]
    format: Option<LoraFormat>,
    /// Write the difference of the transformer from that of this checkpoint as a LoRA instead
    ///
    /// --format chooses its keys, peft by default.
    #[cfg(feature = "extract-lora")]
    #[arg(long, value_name = "BASE", conflicts_with_all = ["to", "lora", "dtype", "gguf", "quantize"])]
    extract_lora: Option<PathBuf>,
    /// Rank of the LoRA to extract [default: 16]
    #[cfg(feature = "extract-lora")]
    #[arg(long, value_name = "RANK", requires = "extract_lora", conflicts_with_all = ["to", "lora"])]
    rank: Option<std::num::NonZeroUsize>,
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
pub fn run(mut arguments: Arguments) -> Result<ExitCode> {
    start_log(0);
    if let Some(folder) = arguments.folder.take() {
        arguments.model.model = Some(folder);
    }
    #[cfg(feature = "extract-lora")]
    if let Some(base) = &arguments.extract_lora {
        return extract::extract(&arguments, base);
    }
    match (arguments.format, arguments.to) {
        (Some(_), _) if arguments.lora.is_empty() => {
            bail!(UsageError::new("--format needs a --lora to write"))
        }
        (Some(format), _) => adapter::convert(&arguments, format),
        (None, Some(target)) => checkpoint(&arguments, target),
        (None, None) => bail!(UsageError::new(
            "nothing to do: name a layout with --to, or a key format of LoRAs with --format"
        )),
    }
}

/// Refuses a file of a LoRA that exists or has another ending.
fn check_output(output: &Path) -> Result<()> {
    output_file::check("--output", output, &["safetensors"])?;
    if output.exists() {
        bail!(UsageError(format!(
            "invalid {}: {} exists; choose another name",
            typed::name("--output"),
            shown(output)
        )));
    }
    Ok(())
}

/// Writes a checkpoint in a layout.
fn checkpoint(arguments: &Arguments, target: Target) -> Result<ExitCode> {
    let layout = match target {
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
    let files = lora::open(&arguments.lora, &arguments.model.hub)?;
    let scales = arguments.lora.iter().map(|lora| lora.scale);
    let loras: Vec<(&LoraFile, f32)> = files.iter().zip(scales).collect();
    let checkpoint = arguments.model.resolve()?.open()?;
    let report = interruptible("writing", |on_progress| {
        checkpoint.export_merged(&arguments.output, &options, &loras, on_progress)
    })?;
    let Some(report) = report else {
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
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
