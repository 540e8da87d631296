//! Tests of samplers against exact solutions, and in the pipeline.

use burn::tensor::Tensor;
use burn_flex::{Flex, FlexDevice};
use ovis_image::config::SchedulerConfig;
use ovis_image::sampling::sampler::SamplerStep;
use ovis_image::sampling::{FlowMatchEulerScheduler, Schedule};
use ovis_image::{GenerationRequest, SamplerKind, SigmaSpacing};
use ovis_image_tests::compare::largest_difference;

use crate::support::{pipeline, request, values};

type Latents = Tensor<Flex, 3>;

const DETERMINISTIC: [SamplerKind; 5] = [
    SamplerKind::Euler,
    SamplerKind::Heun,
    SamplerKind::DpmSolver2M,
    SamplerKind::UniPc,
    SamplerKind::EulerAncestral { eta: 0.0 },
];

fn sigmas(steps: usize) -> Vec<f32> {
    let scheduler = FlowMatchEulerScheduler::new(SchedulerConfig::ovis_image_7b()).unwrap();
    scheduler.sigmas(Schedule::Unshifted, steps, 1).unwrap()
}

/// Runs a sampler from noise with a model of the velocity.
fn run(
    kind: SamplerKind,
    sigmas: &[f32],
    noise: Latents,
    model: impl Fn(Latents, f32) -> Latents,
) -> Latents {
    let mut sampler = kind.build::<Flex>();
    let mut latents = noise.clone();
    for index in 0..sigmas.len() - 1 {
        let velocity = model(latents.clone(), sigmas[index]);
        let mut model = |latents, sigma| model(latents, sigma);
        let mut noise = || noise.clone();
        let mut step = SamplerStep::new(index, sigmas, velocity, &mut model, &mut noise);
        latents = sampler.step(&mut step, latents);
    }
    latents
}

fn tensor(values: [f32; 4]) -> Latents {
    Tensor::from_data([[values]], &FlexDevice)
}

#[test]
fn on_a_straight_path_every_sampler_arrives_in_any_number_of_steps() {
    let (noise, clean) = (tensor([1.0, -2.0, 0.5, 0.0]), tensor([0.3, 0.1, -1.0, 2.0]));
    let all = DETERMINISTIC.into_iter().chain([SamplerKind::Lcm]);
    for kind in all {
        for steps in [1, 2, 3, 10] {
            let velocity = noise.clone() - clean.clone();
            let end = run(kind, &sigmas(steps), noise.clone(), |_, _| velocity.clone());
            let difference = largest_difference(&values(end), &values(clean.clone()));
            assert!(difference < 1e-5, "{kind}, {steps} steps: {difference:.1e}");
        }
    }
}

/// Deviation of normally distributed data, for which the path is known.
const DEVIATION: f64 = 0.4;

/// Returns a value proportional to `x(sigma)`.
fn gaussian_path(sigma: f64) -> f64 {
    ((1.0 - sigma).powi(2) * DEVIATION.powi(2) + sigma.powi(2)).sqrt()
}

fn gaussian_velocity(latents: Latents, sigma: f32) -> Latents {
    let sigma = f64::from(sigma);
    let signal = (1.0 - sigma) * DEVIATION.powi(2);
    latents * ((sigma - signal) / gaussian_path(sigma).powi(2))
}

#[test]
fn half_the_step_is_half_the_error_of_first_order_and_a_quarter_of_second() {
    // Away from the ends, where multistep solvers' steps in log((1 - t) / t) are not small.
    let (from, to) = (0.8, 0.2);
    let start = tensor([1.0, -1.0, 0.5, 2.0]);
    let exact = start.clone() * (gaussian_path(to) / gaussian_path(from));
    let error = |kind, steps: usize| {
        let at = |step| (from + (to - from) * step as f64 / steps as f64) as f32;
        let sigmas: Vec<f32> = (0..=steps).map(at).collect();
        let end = run(kind, &sigmas, start.clone(), gaussian_velocity);
        largest_difference(&values(end), &values(exact.clone()))
    };
    for kind in DETERMINISTIC {
        let expected = match kind {
            SamplerKind::Euler | SamplerKind::EulerAncestral { .. } => 1.8..2.2,
            // The corrector raises UniPC's order by one.
            SamplerKind::UniPc => 3.5..9.0,
            _ => 3.5..4.5,
        };
        let ratio = error(kind, 10) / error(kind, 20);
        assert!(
            expected.contains(&ratio),
            "{kind}: halving steps divides the error by {ratio:.2}"
        );
    }
}

#[test]
fn ancestral_without_fresh_noise_is_euler() {
    let noise = tensor([1.0, -1.0, 0.5, 2.0]);
    let run = |kind| values(run(kind, &sigmas(7), noise.clone(), gaussian_velocity));
    let ancestral = run(SamplerKind::EulerAncestral { eta: 0.0 });
    assert!(largest_difference(&ancestral, &run(SamplerKind::Euler)) < 1e-6);
}

fn requests() -> Vec<GenerationRequest> {
    let kinds = [SamplerKind::Lcm, SamplerKind::EulerAncestral { eta: 0.7 }];
    DETERMINISTIC
        .into_iter()
        .chain(kinds)
        .map(|kind| {
            request()
                .with_num_inference_steps(3)
                .with_guidance_scale(3.0)
                .with_sampler(kind)
        })
        .collect()
}

#[test]
fn an_image_of_a_batch_is_what_its_seed_gives_alone_with_every_sampler() {
    let pipeline = pipeline();
    for request in requests() {
        let prompts = [
            "a cat",
            "a very long prompt about a lighthouse at dusk, with gulls",
        ];
        let batch = request
            .clone()
            .with_prompts(prompts.map(str::to_owned))
            .with_images_per_prompt(2)
            .with_seed_per_image([1, 2, 3, 4]);
        let batch = pipeline.generate(&batch).unwrap();
        let sampler = batch.settings.parameters.sampler;
        for (index, image) in batch.images.iter().enumerate() {
            let alone = request
                .clone()
                .with_prompts([prompts[index / 2]])
                .with_seed_per_image([index as u64 + 1]);
            let alone = pipeline.generate(&alone).unwrap();
            assert_eq!(
                image.image, alone.images[0].image,
                "{sampler}, image {index}"
            );
        }
    }
}

#[test]
fn samplers_and_spacings_are_in_the_settings_and_change_the_image() {
    let pipeline = pipeline();
    let base = request().with_num_inference_steps(4);
    let plain = pipeline.generate(&base).unwrap();
    let heun = pipeline
        .generate(&base.clone().with_sampler(SamplerKind::Heun))
        .unwrap();
    assert_eq!(heun.settings.parameters.sampler, SamplerKind::Heun);
    assert_ne!(values(heun.latents), values(plain.latents.clone()));
    for spacing in [
        SigmaSpacing::Karras,
        SigmaSpacing::Exponential,
        SigmaSpacing::Beta,
        SigmaSpacing::Simple,
    ] {
        let output = pipeline
            .generate(&base.clone().with_sigma_spacing(spacing))
            .unwrap();
        assert_eq!(output.settings.parameters.sigma_spacing, spacing);
        assert_eq!(output.settings.sigmas.len(), 5);
    }
}
