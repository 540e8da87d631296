//! Times the expensive parts on flex with one instruction set and prints one JSON object;
//! `benches/cpu/run` compares it with torch.

#![allow(
    clippy::print_stdout,
    reason = "the report is what this program is for"
)]

use std::time::Instant;

use anyhow::Result;
use burn::tensor::{DType, Distribution, Tensor};
use burn_flex::{Flex, FlexDevice};
use clap::Parser;
use ovis_image::kernels::{self, InstructionSet};
use ovis_image::ops::AttentionMask;
use ovis_image::vae::AutoencoderKl;
use ovis_image_benches::{self as sizes, peak};
use serde_json::{Map, Value, json};

/// Number of tokens: 256 of text and those of 256x256 pixels.
const TOKENS: usize = 512;
const HEAD_DIM: usize = 128;

/// Times the expensive parts with one instruction set.
#[derive(Debug, Parser)]
struct Arguments {
    /// Instruction set: avx512-bf16, avx512, avx2, neon or portable [default: the CPU's best]
    #[arg(long)]
    instruction_set: Option<InstructionSet>,
    /// Times each part so often and reports the median
    #[arg(long, default_value_t = 7)]
    repeats: usize,
    /// Does not time the VAE's decoder, which takes longest
    #[arg(long)]
    no_vae: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(set) = arguments.instruction_set {
        set.use_everywhere()?;
    }
    let set = InstructionSet::in_use();
    let threads = std::thread::available_parallelism()?.get();
    let mut rates = Map::new();
    let mut rate = |name: String, flops: u64, seconds: f64| {
        rates.insert(name, json!(flops as f64 / seconds / 1e9));
    };
    for (dtype_name, dtype) in [("f32", DType::F32), ("bf16", DType::BF16)] {
        for (size, hidden) in [("middle", 768), ("7B", 3072)] {
            let out = 11 * hidden;
            let (input, weight) = (
                random([TOKENS, hidden], dtype),
                random([out, hidden], dtype),
            );
            let seconds = median(arguments.repeats, || {
                kernels::linear_layer(input.clone(), weight.clone(), None);
            });
            let flops = sizes::linear_flops(TOKENS, hidden, out);
            rate(format!("{size} {dtype_name}/linear layer"), flops, seconds);
        }
        for (size, heads, tokens) in [
            ("middle", 6, TOKENS),
            ("7B", 24, TOKENS),
            ("1024x1024", 6, 4352),
        ] {
            let head = || random([1, heads, tokens, HEAD_DIM], dtype);
            let (query, key, value) = (head(), head(), head());
            let seconds = median(arguments.repeats, || {
                let (query, key, value) = (query.clone(), key.clone(), value.clone());
                kernels::multi_head_attention(query, key, value, AttentionMask::Full);
            });
            let flops = sizes::attention_flops(tokens, heads * HEAD_DIM);
            rate(
                format!("{size} {dtype_name}/joint attention"),
                flops,
                seconds,
            );
        }
        if !arguments.no_vae {
            let config = sizes::full_vae();
            let vae: AutoencoderKl<Flex> = sizes::cast(config.init(&FlexDevice), dtype);
            let latents = random([1, 16, 64, 64], dtype);
            let seconds = median(arguments.repeats.min(3), || {
                vae.decode(latents.clone());
            });
            let flops = sizes::decode_flops(&config, 512);
            rate(
                format!("{dtype_name}/VAE decode to 512x512"),
                flops,
                seconds,
            );
        }
    }
    let peak = peak::flops_per_second(set, threads).map(|flops| flops / 1e9);
    let report: Value = json!({
        "instruction_set": set.to_string(),
        "threads": threads,
        "peak_gflops": peak,
        "gflops": rates,
    });
    println!("{report}");
    Ok(())
}

fn random<const D: usize>(shape: [usize; D], dtype: DType) -> Tensor<Flex, D> {
    let normal = Distribution::Normal(0.0, 1.0);
    Tensor::<Flex, D>::random(shape, normal, (&FlexDevice, DType::F32)).cast(dtype)
}

/// Runs once to warm up, then `repeats` times, and returns the median of the seconds.
fn median(repeats: usize, mut run: impl FnMut()) -> f64 {
    run();
    let mut seconds: Vec<f64> = (0..repeats.max(1))
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
