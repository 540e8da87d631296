//! The arguments about memory, and the plan that follows from a limit in one line.

use anyhow::Result;
use bytesize::ByteSize;
use clap::Args;
use ovis_image::memory::MemoryPlan;
use ovis_image::{LoadOptions, Quantization, Residency, WeightDtype};

use crate::shared::{headings, threads};

/// The arguments that trade memory for time.
#[derive(Debug, Clone, Default, Args)]
pub struct MemoryArguments {
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
}

impl MemoryArguments {
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
}

/// Reads the value of `--stream-blocks`. The library streams at most as many as there are.
fn streamed_blocks(text: &str) -> Result<usize, String> {
    if text.eq_ignore_ascii_case("all") {
        return Ok(usize::MAX);
    }
    text.parse()
        .map_err(|_| format!("`{text}` is neither a number nor `all`"))
}

/// Describes what a plan keeps on the device, and what it does to fit.
pub fn report(plan: &MemoryPlan) -> String {
    let estimate = &plan.estimate;
    let size = |bytes: u64| ByteSize::b(bytes).display().si().to_string();
    let mut parts = vec![format!(
        "memory: at most {}; on the device: {} of the transformer, {} of the text encoder, {} of the VAE",
        size(estimate.peak),
        size(estimate.transformer),
        size(estimate.text_encoder),
        size(estimate.vae)
    )];
    if estimate.quantized > 0 {
        parts.push(format!("{} of quantized weights", size(estimate.quantized)));
    }
    if estimate.streamed_blocks > 0 {
        parts.push(format!("{} blocks are streamed", estimate.streamed_blocks));
    }
    if plan.request.parameters().vae_tiling.is_some() {
        parts.push("decoding in tiles".to_owned());
    }
    parts.join("; ")
}
