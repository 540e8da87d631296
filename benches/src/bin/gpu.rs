//! Checks and times a device in one run of at most ten minutes: correctness against the CPU, the
//! time of the first image, of a step, of the encoder and of the decoder, and the memory. Weights
//! are random, of the requested sizes, and made on the device. `gpu/run` calls this program.

#![allow(clippy::print_stdout, reason = "the result of the program")]

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Distribution, Tensor};
use burn_flex::{Flex, FlexDevice};
use clap::{Parser, ValueEnum};
use ovis_image::config::{SchedulerConfig, TextEncoderConfig, TransformerConfig};
use ovis_image::device::{BackendVisitor, DeviceSpec};
use ovis_image::ops::unpack_latents;
use ovis_image::sampling::{FlowMatchEulerScheduler, classifier_free_guidance};
use ovis_image::transformer::{OvisImageTransformer, TransformerInput};
use ovis_image::{Schedule, WeightDtype};
use ovis_image_benches::random::{Parameters, randomize};
use ovis_image_benches::{forward_flops, full_vae, middle_transformer};
use serde_json::json;

const TEXT_TOKENS: usize = 256;
/// Number of tokens of a prompt of ordinary length with its template.
const PROMPT_TOKENS: usize = 60;

#[derive(Debug, Parser)]
#[command(about = "Checks and times a device with random weights made there")]
struct Arguments {
    /// Device: cuda, wgpu, flex, ...
    #[arg(long, default_value = "auto")]
    device: DeviceSpec,
    /// Precision of the timed weights
    #[arg(long, default_value = "bf16")]
    dtype: WeightDtype,
    /// Size of the timed models
    #[arg(long, value_enum, default_value_t = Scale::Full)]
    scale: Scale,
    /// Side of the square image in pixels
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Number of sampling steps of the image that the total is for
    #[arg(long, default_value_t = 50)]
    steps: usize,
    /// Seconds after which no further step is timed
    #[arg(long, default_value_t = 480.0)]
    limit: f64,
    /// Leave the text encoder out and release its memory before the steps
    #[arg(long)]
    release_encoder: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Scale {
    /// The release's 7B
    Full,
    /// 768 wide, 2 double and 8 single blocks; the release's VAE
    Middle,
}

impl Scale {
    fn configs(self) -> (TransformerConfig, TextEncoderConfig) {
        let mut text_encoder = TextEncoderConfig::ovis_image_7b();
        match self {
            Self::Full => (TransformerConfig::ovis_image_7b(), text_encoder),
            Self::Middle => {
                text_encoder.hidden_size = 512;
                text_encoder.num_hidden_layers = 6;
                text_encoder.num_attention_heads = 4;
                text_encoder.num_key_value_heads = 2;
                text_encoder.intermediate_size = 1536;
                (middle_transformer(), text_encoder)
            }
        }
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let device = arguments.device.open()?;
    println!("device: {device}");
    if let Some(card) = nvidia_smi("name,driver_version,memory.total") {
        println!("card, driver, memory: {card}");
    }
    device.visit(Run {
        arguments,
        start: Instant::now(),
    })
}

struct Run {
    arguments: Arguments,
    start: Instant,
}

impl BackendVisitor for Run {
    type Output = Result<()>;

    fn visit<B: Backend>(self, device: B::Device) -> Result<()> {
        check_against_the_cpu::<B>(&device, self.arguments.dtype)?;
        self.time::<B>(&device)
    }
}

/// Compares a forward of the middle size and a decoding with the CPU's, using the same weights, in
/// f32 and in the timed dtype.
fn check_against_the_cpu<B: Backend>(device: &B::Device, dtype: WeightDtype) -> Result<()> {
    let config = middle_transformer();
    let grid = [8, 12];
    let image_tokens = grid[0] * grid[1];
    let latents = random::<3>([1, image_tokens, config.in_channels]);
    let prompt = random::<3>([1, TEXT_TOKENS, config.joint_attention_dim]);

    let host = randomize(config.init::<Flex>(&FlexDevice), DType::F32, &FlexDevice);
    let input = TransformerInput {
        latents: latents.clone(),
        prompt_embeds: prompt.clone(),
        rope: &host.rope(TEXT_TOKENS, grid, &FlexDevice),
    };
    let expected = host.forward(input, &[0.7]);
    // In f32, sums are in another order. In bf16, 8 bits of a significand pass through ten blocks;
    // the CPU's own bf16 is about 1e-2 from its f32.
    for (dtype, limit) in [(DType::F32, 1e-3), (dtype.to_burn(), 5e-2)] {
        let there = Parameters::of(&host).give(config.init::<B>(device), dtype, device);
        let moved = |tensor: &Tensor<Flex, 3>| {
            let data = tensor.clone().into_data().convert_dtype(dtype);
            Tensor::<B, 3>::from_data(data, (device, dtype))
        };
        let input = TransformerInput {
            latents: moved(&latents),
            prompt_embeds: moved(&prompt),
            rope: &there.rope(TEXT_TOKENS, grid, device),
        };
        let actual = there.forward(input, &[0.7]);
        let error = relative_error(values(actual)?, values(expected.clone())?);
        println!("forward in {dtype:?} against the CPU's in f32: {error:.1e} (limit {limit:.0e})");
        ensure!(error < limit, "the forward is wrong on this device");
    }

    let config = full_vae();
    let host = randomize(config.init::<Flex>(&FlexDevice), DType::F32, &FlexDevice);
    let latents = random::<4>([1, 16, 8, 12]);
    let expected = values(host.decode(latents.clone()))?;
    let there = Parameters::of(&host).give(config.init::<B>(device), DType::F32, device);
    let latents = Tensor::<B, 4>::from_data(latents.into_data(), (device, DType::F32));
    let error = relative_error(values(there.decode(latents))?, expected);
    println!("VAE decode in f32 against the CPU's: {error:.1e} (limit 1e-3)");
    ensure!(error < 1e-3, "the decoder is wrong on this device");
    Ok(())
}

impl Run {
    fn time<B: Backend>(&self, device: &B::Device) -> Result<()> {
        let arguments = &self.arguments;
        let dtype = arguments.dtype.to_burn();
        let (config, text_config) = arguments.scale.configs();
        let making = Instant::now();
        let text_encoder = randomize(text_config.init::<B>(device), dtype, device);
        let transformer = randomize(config.init::<B>(device), dtype, device);
        let vae = randomize(full_vae().init::<B>(device), dtype, device);
        sync::<B>(device)?;
        let making = making.elapsed();
        let resident = nvidia_smi("memory.used");

        let first_image = Instant::now();
        let embeds = random_on::<B, 3>([1, PROMPT_TOKENS, text_config.hidden_size], dtype, device);
        let mut encode = || drop(text_encoder.forward_embeds(embeds.clone(), None));
        let first_encode = timed::<B>(device, &mut encode)?;
        let encode = timed::<B>(device, &mut encode)?;
        if arguments.release_encoder {
            drop(text_encoder);
            B::memory_cleanup(device);
        }
        let Denoised {
            latents,
            modulating,
            steps,
        } = self.denoise(&transformer, device)?;
        let mut decode = || drop(vae.decode(latents.clone()));
        let first_decode = timed::<B>(device, &mut decode)?;
        let decode = timed::<B>(device, &mut decode)?;
        let first_image = first_image.elapsed() - decode - encode;
        let peak = nvidia_smi("memory.used");
        ensure!(
            values(latents)?.iter().all(|value| value.is_finite()),
            "the latents are not finite"
        );

        let step = median_of_warm(&steps);
        let side = arguments.size / 16;
        let flops = 2 * forward_flops(&config, TEXT_TOKENS + side * side);
        let summary = json!({
            "scale": format!("{:?}", arguments.scale),
            "dtype": arguments.dtype,
            "size": arguments.size,
            "steps": arguments.steps,
            "steps_timed": steps.len(),
            "seconds": {
                "making_weights": making.as_secs_f64(),
                "first_image": first_image.as_secs_f64(),
                "first_encode": first_encode.as_secs_f64(),
                "first_step": steps[0].as_secs_f64(),
                "first_decode": first_decode.as_secs_f64(),
                "encode": encode.as_secs_f64(),
                "modulation_of_all_steps": modulating.as_secs_f64(),
                "step": step,
                "decode": decode.as_secs_f64(),
                "image": 2.0 * encode.as_secs_f64()
                    + modulating.as_secs_f64()
                    + step * arguments.steps as f64
                    + decode.as_secs_f64(),
            },
            "step_tflops": flops as f64 / step / 1e12,
            "device_memory": { "weights": resident, "after_the_image": peak },
        });
        println!("{}", serde_json::to_string_pretty(&summary)?);
        Ok(())
    }

    /// Denoises random latents, with guidance, until the time limit.
    fn denoise<B: Backend>(
        &self,
        transformer: &OvisImageTransformer<B>,
        device: &B::Device,
    ) -> Result<Denoised<B>> {
        let arguments = &self.arguments;
        let dtype = arguments.dtype.to_burn();
        let (config, _) = arguments.scale.configs();
        let side = arguments.size / 16;
        let (grid, image_tokens) = ([side, side], side * side);
        let scheduler = FlowMatchEulerScheduler::new(SchedulerConfig::ovis_image_7b())?;
        let sigmas = scheduler.sigmas(Schedule::default(), arguments.steps, image_tokens)?;
        let rope = transformer.rope(TEXT_TOKENS, grid, device);
        let prompts: [Tensor<B, 3>; 2] = std::array::from_fn(|_| {
            random_on([1, TEXT_TOKENS, config.joint_attention_dim], dtype, device)
        });
        let timesteps: Vec<f32> = sigmas[..arguments.steps]
            .iter()
            .map(|sigma| scheduler.model_timestep(*sigma, arguments.dtype))
            .collect();
        let start = Instant::now();
        let modulation = transformer.modulation(transformer.conditioning(&timesteps));
        sync::<B>(device)?;
        let modulating = start.elapsed();

        let mut latents =
            random_on::<B, 3>([1, image_tokens, config.in_channels], DType::F32, device);
        let mut steps = Vec::new();
        let step = |index: usize, latents: Tensor<B, 3>| {
            let modulation = modulation.item(index);
            let predict = |prompt: &Tensor<B, 3>| {
                let input = TransformerInput {
                    latents: latents.clone().cast(dtype),
                    prompt_embeds: prompt.clone(),
                    rope: &rope,
                };
                let velocity = transformer.forward_modulated(input, &modulation);
                velocity.cast(DType::F32)
            };
            let velocity =
                classifier_free_guidance(predict(&prompts[0]), predict(&prompts[1]), 5.0);
            FlowMatchEulerScheduler::step(latents, velocity, sigmas[index], sigmas[index + 1])
        };
        for index in 0..arguments.steps {
            let start = Instant::now();
            latents = step(index, latents);
            sync::<B>(device)?;
            steps.push(start.elapsed());
            if self.start.elapsed().as_secs_f64() > arguments.limit {
                break;
            }
        }
        Ok(Denoised {
            latents: unpack_latents(latents, grid).cast(dtype),
            modulating,
            steps,
        })
    }
}

/// Denoised latents, `[1, channels, height, width]`, and the time that they took.
struct Denoised<B: Backend> {
    latents: Tensor<B, 4>,
    /// Time of the modulation of all steps.
    modulating: Duration,
    steps: Vec<Duration>,
}

/// Returns the median in seconds of the steps after the first, which compiles kernels and selects
/// among them.
fn median_of_warm(steps: &[Duration]) -> f64 {
    let mut warm: Vec<f64> = steps.iter().skip(1).map(Duration::as_secs_f64).collect();
    warm.sort_by(f64::total_cmp);
    let median = warm.get(warm.len() / 2).copied();
    median.unwrap_or_else(|| steps[0].as_secs_f64())
}

fn sync<B: Backend>(device: &B::Device) -> Result<()> {
    B::sync(device).map_err(|error| anyhow!("{error}"))
}

fn timed<B: Backend>(device: &B::Device, work: &mut dyn FnMut()) -> Result<Duration> {
    let start = Instant::now();
    work();
    sync::<B>(device)?;
    Ok(start.elapsed())
}

fn random<const D: usize>(shape: [usize; D]) -> Tensor<Flex, D> {
    random_on(shape, DType::F32, &FlexDevice)
}

fn random_on<B: Backend, const D: usize>(
    shape: [usize; D],
    dtype: DType,
    device: &B::Device,
) -> Tensor<B, D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), (device, dtype))
}

fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Result<Vec<f32>> {
    let data = tensor.into_data().convert::<f32>();
    data.into_vec().map_err(|error| anyhow!("{error:?}"))
}

fn relative_error(actual: Vec<f32>, expected: Vec<f32>) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f32>| {
        values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt()
    };
    norm(&mut actual.iter().zip(&expected).map(|(a, b)| a - b))
        / norm(&mut expected.iter().copied())
}

/// Queries the NVIDIA driver, if there is one.
fn nvidia_smi(query: &str) -> Option<String> {
    let output = Command::new("nvidia-smi")
        .args([&format!("--query-gpu={query}"), "--format=csv,noheader"])
        .output()
        .context("nvidia-smi")
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success()).then(|| text.trim().to_owned())
}
