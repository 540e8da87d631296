//! Plots a run as an SVG: the noise level of each step, and how large the latents are.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use burn_flex::{Flex, FlexDevice};
use clap::Parser;
use ovis_image::{GenerationRequest, LoadOptions, OvisImagePipeline, WeightDtype};
use ovis_image_examples::shared::model::ModelArguments;
use ovis_image_examples::shared::plot::{Series, panels};
use ovis_image_examples::shared::sampling::SamplingArguments;
use ovis_image_examples::shared::{output_file, program};

/// Plots sigma and the size of the latents over the steps of a run on the CPU.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Prompt of the image
    #[arg(long, default_value = "a lighthouse at dusk")]
    prompt: String,
    /// Denoising steps
    #[arg(long, default_value_t = 20)]
    steps: usize,
    /// Side of the image in pixels
    #[arg(long, default_value_t = 256)]
    side: usize,
    /// Seed of the initial noise
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Output file
    #[arg(long, value_name = "FILE.svg", default_value = "schedule.svg")]
    output: PathBuf,
    /// Sampling arguments.
    #[command(flatten)]
    sampling: SamplingArguments,
    /// The model.
    #[command(flatten)]
    model: ModelArguments,
}

fn main() -> ExitCode {
    program::run(run)
}

fn run(arguments: Arguments) -> Result<()> {
    output_file::check("--output", &arguments.output, &["svg"])?;
    let checkpoint = arguments.model.resolve()?.open()?;
    let options = LoadOptions::new().with_dtype(WeightDtype::F32);
    let pipeline = OvisImagePipeline::<Flex>::from_checkpoint(&checkpoint, options, &FlexDevice)?;
    let request = GenerationRequest::new(&arguments.prompt)
        .with_size(arguments.side, arguments.side)
        .with_num_inference_steps(arguments.steps)
        .with_seed(arguments.seed);
    let request = arguments.sampling.apply(request);

    let mut sigmas = Series::new("sigma");
    let mut latents = Series::new("latents");
    let mut clean = Series::new("predicted clean latents");
    let denoiser = pipeline.denoiser(&request)?;
    sigmas.push(0, 1.0);
    latents.push(0, root_mean_square(denoiser.latents())?);
    for step in denoiser {
        if step.completed == 1 {
            sigmas.points[0].1 = f64::from(step.sigma);
        }
        sigmas.push(step.completed, f64::from(step.sigma_next));
        latents.push(step.completed, root_mean_square(step.latents())?);
        clean.push(
            step.completed,
            root_mean_square(step.predicted_clean_latents())?,
        );
    }
    let svg = panels(&[
        ("Noise level after each step", &[sigmas]),
        ("Root mean square after each step", &[latents, clean]),
    ])?;
    output_file::write_whole(&arguments.output, svg.as_bytes())
}

fn root_mean_square(latents: burn::tensor::Tensor<Flex, 4>) -> Result<f64> {
    let data = latents.try_into_data().ok();
    let values = data.and_then(|data| data.into_vec::<f32>().ok());
    let values = values.context("the latents cannot be read")?;
    let squares: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
    Ok((squares / values.len() as f64).sqrt())
}
