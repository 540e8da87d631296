//! Tests of samplers, guidance, step caches and image to image against diffusers' own.

use burn::tensor::{Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use image::{GrayImage, Luma, RgbImage};
use ovis_image::WeightDtype;
use ovis_image::config::SchedulerConfig;
use ovis_image::pipeline::StepCacheReport;
use ovis_image::sampling::guidance::{
    GuidanceInterval, GuidanceSettings, Predictions, SkipLayerGuidance,
};
use ovis_image::sampling::sampler::SamplerStep;
use ovis_image::sampling::{FlowMatchEulerScheduler, NoiseGenerator, Schedule, StepPosition};
use ovis_image::transformer::{SkippedBlocks, StagedForward, TransformerInput};
use ovis_image::{
    GenerationRequest, GuidanceMethod, SamplerKind, SigmaSpacing, SourceImage, StepCacheKind,
};
use ovis_image_tests::compare::{largest_difference, relative_error};
use ovis_image_tests::golden::{Golden, golden_folder};
use ovis_image_tests::tolerance::{SIGMAS_AND_NOISE, tolerance};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::support::{pipeline, values};

fn read<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&std::fs::read(golden_folder().join(name)).unwrap()).unwrap()
}

fn tensors(name: &str) -> Golden {
    Golden::open(&golden_folder().join(name))
}

/// Shape of the recorded predictions: two images of six tokens.
const SHAPE: [usize; 3] = [2, 6, 8];
const COUNT: usize = 96;

fn tensor(values: &[f32]) -> Tensor<Flex, 3> {
    Tensor::from_data(TensorData::new(values.to_vec(), SHAPE), &FlexDevice)
}

/// Tolerance for recorded predictions. A single element-wise step on values of order one has
/// rounding errors of some 1e-7; twenty of them stay below this limit, even where multistep
/// formulas divide differences by small widths.
const RECORDED: f64 = 1e-5;

#[derive(Deserialize)]
struct Cases<T> {
    cases: Vec<T>,
}

#[derive(Deserialize)]
struct SamplerCase {
    name: String,
    sampler: SamplerKind,
    sigmas: Vec<f32>,
    finite: bool,
    noise_seed: u64,
}

#[test]
fn samplers_step_as_diffusers_schedulers() {
    let golden = tensors("samplers.safetensors");
    let cases = read::<Cases<SamplerCase>>("samplers.json").cases;
    assert_eq!(cases.len(), 25);
    for case in cases.iter().filter(|case| case.finite) {
        let outputs = golden.values(&format!("{}.outputs", case.name));
        let expected = golden.values(&format!("{}.latents_out", case.name));
        let mut recorded = outputs.chunks_exact(COUNT).map(tensor);
        let mut generator = NoiseGenerator::from_seed(case.noise_seed);
        let mut sampler = case.sampler.build::<Flex>();
        let mut latents = tensor(&golden.values(&format!("{}.latents_in", case.name)));
        for (index, expected) in expected.chunks_exact(COUNT).enumerate() {
            let velocity = recorded.next().unwrap();
            let mut model = |_, sigma| {
                assert_eq!(sigma, case.sigmas[index + 1]);
                recorded.next().unwrap()
            };
            let mut noise = || tensor(&generator.randn(COUNT));
            let mut step = SamplerStep::new(index, &case.sigmas, velocity, &mut model, &mut noise);
            latents = sampler.step(&mut step, latents);
            let error = relative_error(&values(latents.clone()), expected);
            assert!(error < RECORDED, "{}, step {index}: {error:.1e}", case.name);
        }
        assert!(
            recorded.next().is_none(),
            "{}: too few predictions",
            case.name
        );
    }
}

#[derive(Deserialize)]
struct Spacings {
    spacings: Vec<Spacing>,
}

#[derive(Deserialize)]
struct Spacing {
    spacing: SigmaSpacing,
    steps: usize,
    image_tokens: usize,
    sigmas: Vec<f32>,
}

#[test]
fn sigmas_are_spaced_as_diffusers_spaces_them() {
    let scheduler = FlowMatchEulerScheduler::new(SchedulerConfig::ovis_image_7b()).unwrap();
    for golden in read::<Spacings>("spacings.json").spacings {
        let Spacing {
            spacing,
            steps,
            image_tokens,
            sigmas,
        } = golden;
        let ours = scheduler.spaced_sigmas(Schedule::Dynamic, spacing, steps, image_tokens);
        let difference = largest_difference(&ours.unwrap(), &sigmas);
        assert!(
            difference <= SIGMAS_AND_NOISE,
            "{spacing}, {steps} steps, {image_tokens} tokens: {difference:.1e}"
        );
    }
}

#[derive(Deserialize)]
struct GuiderCase {
    name: String,
    kind: String,
    arguments: Value,
    steps: usize,
    asked: Vec<Vec<String>>,
}

impl GuiderCase {
    fn settings(&self) -> GuidanceSettings {
        let number = |name: &str| self.arguments[name].as_f64();
        let single = |name: &str| number(name).unwrap_or_default() as f32;
        let mut settings = GuidanceSettings::new(single("guidance_scale"));
        settings.interval = GuidanceInterval {
            start: number("start").unwrap_or(0.0),
            stop: number("stop").unwrap_or(1.0),
        };
        settings.method = match self.kind.as_str() {
            "zero-star" => GuidanceMethod::ZeroStar {
                zero_init_steps: number("zero_init_steps").unwrap() as usize,
            },
            "apg" => GuidanceMethod::AdaptiveProjected {
                eta: single("eta"),
                momentum: single("adaptive_projected_guidance_momentum"),
                norm_threshold: single("adaptive_projected_guidance_rescale"),
            },
            _ => GuidanceMethod::ClassifierFree,
        };
        if self.kind == "skip-layers" {
            let skip = SkipLayerGuidance::new([0], [])
                .with_scale(single("skip_layer_guidance_scale"))
                .with_interval(
                    number("skip_layer_guidance_start").unwrap(),
                    number("skip_layer_guidance_stop").unwrap(),
                );
            settings.skip_layers = Some(skip);
        }
        settings
    }
}

#[test]
fn predictions_are_guided_as_diffusers_guiders_do() {
    let golden = tensors("guiders.safetensors");
    for case in read::<Cases<GuiderCase>>("guiders.json").cases {
        let mut guidance = case.settings().build::<Flex>();
        let recorded = |name: &str| golden.values(&format!("{}.{name}", case.name));
        let [conditional, unconditional, skipped, guided] =
            ["conditional", "unconditional", "skipped", "guided"].map(recorded);
        for index in 0..case.steps {
            let step = StepPosition {
                index,
                total: case.steps,
            };
            let passes = guidance.passes(step);
            let at = |values: &[f32]| tensor(&values[index * COUNT..][..COUNT]);
            let expected = &guided[index * COUNT..][..COUNT];
            if !passes.conditional {
                // diffusers computes the predictions and multiplies by zero.
                assert!(expected.iter().all(|value| *value == 0.0), "{}", case.name);
                continue;
            }
            let asked = |name: &str| case.asked[index].iter().any(|asked| asked == name);
            assert_eq!(
                passes.unconditional,
                asked("unconditional"),
                "{} {index}",
                case.name
            );
            assert_eq!(passes.perturbed, asked("skipped"), "{} {index}", case.name);
            let mut predictions = Predictions::new(at(&conditional));
            predictions.unconditional = passes.unconditional.then(|| at(&unconditional));
            predictions.perturbed = passes.perturbed.then(|| at(&skipped));
            let error = relative_error(&values(guidance.combine(step, predictions)), expected);
            assert!(error < RECORDED, "{}, step {index}: {error:.1e}", case.name);
        }
    }
}

#[derive(Deserialize)]
struct Run<T> {
    prompt: String,
    size: usize,
    seed: u64,
    #[serde(default)]
    steps: usize,
    #[serde(default)]
    guidance_scale: f32,
    cases: Vec<T>,
}

impl<T> Run<T> {
    fn request(&self) -> GenerationRequest {
        GenerationRequest::new(&self.prompt)
            .with_size(self.size, self.size)
            .with_num_inference_steps(self.steps)
            .with_guidance_scale(self.guidance_scale)
            .with_seed(self.seed)
    }
}

#[derive(Deserialize)]
struct SkipCase {
    name: String,
    double: Vec<usize>,
    single: Vec<usize>,
}

#[test]
fn a_forward_leaves_blocks_out_as_diffusers_does() {
    let golden = tensors("skip_layers.safetensors");
    let run = read::<Run<SkipCase>>("skip_layers.json");
    let pipeline = pipeline();
    let transformer = pipeline.transformer();
    let request = run
        .request()
        .with_num_inference_steps(1)
        .with_guidance_scale(1.0);
    let plain = pipeline.generate(&request).unwrap();
    for case in &run.cases {
        let skipped = SkippedBlocks {
            double_blocks: case.double.clone(),
            single_blocks: case.single.clone(),
        };
        let [_, _, rows, columns] = plain.initial_latents.dims();
        let grid = [rows / 2, columns / 2];
        let rope = transformer.rope(256, grid, &FlexDevice);
        let input = TransformerInput {
            latents: ovis_image::ops::pack_latents(plain.initial_latents.clone()),
            prompt_embeds: plain.encoded_prompts.embeds.clone(),
            rope: &rope,
        };
        let modulation = transformer.modulation(transformer.conditioning(&[1.0]));
        let forward = StagedForward::new(transformer, &input, &modulation);
        let velocity = forward.skipping(Some(&skipped)).run();
        let velocity = ovis_image::ops::unpack_latents(velocity, grid);
        let latents = plain.initial_latents.clone() - velocity;
        let error = relative_error(&values(latents), &golden.values(&case.name));
        let allowed = tolerance("flex", WeightDtype::F32).from_timestep;
        assert!(error < allowed, "{}: {error:.1e}", case.name);
    }
}

#[derive(Deserialize)]
struct CacheCase {
    cache: StepCacheKind,
    computed: usize,
    skipped: usize,
}

#[test]
fn step_caches_skip_and_forecast_as_diffusers_do() {
    let golden = tensors("caches.safetensors");
    let text = std::fs::read_to_string(golden_folder().join("caches.json")).unwrap();
    let names: Value = serde_json::from_str(&text).unwrap();
    let run = read::<Run<CacheCase>>("caches.json");
    for (index, case) in run.cases.iter().enumerate() {
        let name = names["cases"][index]["cache"].as_str().unwrap();
        let pipeline = pipeline();
        let request = run.request().with_step_cache(case.cache);
        let mut denoiser = pipeline.denoiser(&request).unwrap();
        let after: Vec<f32> = denoiser
            .by_ref()
            .flat_map(|step| values(step.latents()))
            .collect();
        let StepCacheReport {
            computed, skipped, ..
        } = denoiser.step_cache_report().unwrap();
        assert_eq!((computed, skipped), (case.computed, case.skipped), "{name}");
        let error = relative_error(&after, &golden.values(name));
        // Twelve guided steps; forecasts are differences that are multiplied.
        assert!(error < 1e-3, "{name}: {error:.1e}");
    }
}

#[derive(Deserialize)]
struct SourceCase {
    name: String,
    strength: f64,
    masked: bool,
    steps_taken: usize,
}

#[test]
fn images_start_from_pictures_as_in_diffusers_flux_pipelines() {
    let golden = tensors("image_to_image.safetensors");
    let run = read::<Run<SourceCase>>("image_to_image.json");
    let side = run.size as u32;
    let pixels: Vec<u8> = golden.bytes("picture");
    let picture = RgbImage::from_raw(side, side, pixels).unwrap();
    let pipeline = pipeline();
    let allowed = tolerance("flex", WeightDtype::F32);
    let clean = values(pipeline.encode_image(&picture).unwrap());
    assert!(relative_error(&clean, &golden.values("latents")) < allowed.stage);

    // Each cell of 2x2 pixels has a single value.
    let cells = golden.values("mask");
    let columns = side / 2;
    let mask = GrayImage::from_fn(side, side, |x, y| {
        Luma([(255.0 * cells[(y / 2 * columns + x / 2) as usize]) as u8])
    });
    for case in &run.cases {
        let mut source = SourceImage::new(picture.clone()).with_strength(case.strength);
        if case.masked {
            source = source.with_mask(mask.clone());
        }
        let request = run.request().with_source_image(source);
        let denoiser = pipeline.denoiser(&request).unwrap();
        let name = &case.name;
        assert_eq!(denoiser.total_steps(), case.steps_taken, "{name}");
        let start = relative_error(
            &values(denoiser.latents()),
            &golden.values(&format!("{name}.latents_in")),
        );
        assert!(start < allowed.stage, "{name}: {start:.1e}");
        let after: Vec<f32> = denoiser.flat_map(|step| values(step.latents())).collect();
        let error = relative_error(&after, &golden.values(&format!("{name}.latents_out")));
        assert!(error < 10.0 * allowed.result, "{name}: {error:.1e}");
    }
}
