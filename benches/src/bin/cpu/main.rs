//! Times the kernels of the CPU path on flex with one instruction set and prints one JSON object;
//! `benches/cpu/run` compares it with torch and with the machine's limits.

#![allow(
    clippy::print_stdout,
    reason = "the report is what this program is for"
)]

mod kernels;
mod report;

use anyhow::Result;
use burn::tensor::DType;
use clap::Parser;
use ovis_image::kernels::InstructionSet;
use ovis_image_benches::peak;
use serde_json::json;

use crate::report::Report;

/// Times the kernels of the CPU path with one instruction set.
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
    /// Prints the instruction sets of this CPU, best first, and times nothing
    #[arg(long, exclusive = true)]
    list_instruction_sets: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.list_instruction_sets {
        for set in InstructionSet::available() {
            println!("{set}");
        }
        return Ok(());
    }
    if let Some(set) = arguments.instruction_set {
        set.use_everywhere()?;
    }
    let set = InstructionSet::in_use();
    let threads = std::thread::available_parallelism()?.get();
    let mut report = Report::new(arguments.repeats);
    for (name, dtype) in [("f32", DType::F32), ("bf16", DType::BF16)] {
        kernels::products(&mut report, name, dtype);
        kernels::passes(&mut report, name, dtype);
        kernels::convolution(&mut report, name, dtype);
        if !arguments.no_vae {
            kernels::decoder(&mut report, name, dtype);
        }
    }
    let copy = peak::copy_bytes_per_second(threads);
    let output = json!({
        "instruction_set": set.to_string(),
        "threads": threads,
        "peak_gflops": peak::flops_per_second(set, threads).map(|flops| flops / 1e9),
        "peak_gbytes": copy.reused / 1e9,
        "peak_gbytes_new_memory": copy.new / 1e9,
        "gflops": report.gflops,
        "gbytes": report.gbytes,
    });
    println!("{output}");
    Ok(())
}
