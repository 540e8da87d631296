//! Tests of two-pass generation.

use std::ops::ControlFlow;

use image::RgbImage;
use ovis_image::error::{RequestError, RuntimeError};
use ovis_image::images::ImageFit;
use ovis_image::memory::{DeviceMemory, MemoryEstimate, MemoryPlan};
use ovis_image::request::UpscaleMethod;
use ovis_image::vae::VaeTiling;
use ovis_image::{
    Checkpoint, GenerationRequest, GenerationSettings, LoadOptions, OvisImageError, Progress,
    SamplerKind, SecondPass, SourceImage, StepCacheKind,
};

use crate::support::{base_model, pipeline, request, values, zeros};

const SIDE: usize = 32;

fn base() -> GenerationRequest {
    request()
        .with_size(SIDE, SIDE)
        .with_num_inference_steps(5)
        .with_seed(3)
}

fn two_passes(second_pass: SecondPass) -> GenerationRequest {
    base().with_second_pass(second_pass)
}

#[test]
fn an_upscaled_image_is_denoised_as_a_source_image_is() {
    let pipeline = pipeline();
    let second_pass = SecondPass::new(1.5)
        .with_strength(0.6)
        .with_steps(4)
        .with_upscale(UpscaleMethod::Image);
    let output = pipeline.generate(&two_passes(second_pass)).unwrap();

    let first = pipeline.generate(&base()).unwrap().images.remove(0);
    let source = SourceImage::new(first.image)
        .with_fit(ImageFit::Stretch)
        .with_strength(0.6);
    let by_hand = base()
        .with_size(48, 48)
        .with_num_inference_steps(4)
        .with_source_image(source);
    let by_hand = pipeline.generate(&by_hand).unwrap();
    assert_eq!(output.images[0].image, by_hand.images[0].image);
    assert_eq!(values(output.latents), values(by_hand.latents));
    let run = output.settings.second_pass_run.unwrap();
    assert_eq!((run.width, run.height), (48, 48));
    assert_eq!(run.sigmas, by_hand.settings.sigmas);
}

#[test]
fn strength_0_is_the_upscaled_image_and_strength_1_ignores_it() {
    let pipeline = pipeline();
    let upscaled = two_passes(SecondPass::new(2.0).with_strength(0.0));
    let upscaled = pipeline.generate(&upscaled).unwrap();
    let first = pipeline.generate(&base()).unwrap();
    assert_eq!(
        values(upscaled.initial_latents),
        values(first.initial_latents)
    );
    let (large, small) = (upscaled.latents.dims(), first.latents.dims());
    assert_eq!(large, [1, small[1], 2 * small[2], 2 * small[3]]);
    // Interpolated halfway between the centers, and the corners repeated.
    let (large, small_values) = (values(upscaled.latents), values(first.latents));
    assert_eq!(large[0], small_values[0]);
    let expected = 0.75 * small_values[0] + 0.25 * small_values[1];
    assert!((large[1] - expected).abs() < 1e-5);

    for upscale in [UpscaleMethod::Latent, UpscaleMethod::Image] {
        let ignored = SecondPass::new(2.0)
            .with_strength(1.0)
            .with_upscale(upscale);
        let ignored = pipeline.generate(&two_passes(ignored)).unwrap();
        let alone = pipeline
            .generate(&base().with_size(2 * SIDE, 2 * SIDE))
            .unwrap();
        assert_eq!(values(ignored.latents), values(alone.latents));
    }
}

#[test]
fn each_image_of_a_batch_is_the_one_that_its_seed_gives_alone() {
    let pipeline = pipeline();
    for upscale in [UpscaleMethod::Latent, UpscaleMethod::Image] {
        let request = two_passes(SecondPass::new(2.0).with_upscale(upscale))
            .with_sampler(SamplerKind::EulerAncestral { eta: 1.0 })
            .with_images_per_prompt(2)
            .with_seed_per_image([1, 2]);
        let batch = pipeline.generate(&request).unwrap();
        for (index, image) in batch.images.iter().enumerate() {
            let alone = request
                .clone()
                .with_images_per_prompt(1)
                .with_seed_per_image([index as u64 + 1]);
            let alone = pipeline.generate(&alone).unwrap();
            assert_eq!(image.image, alone.images[0].image, "{upscale:?} {index}");
            assert_eq!(image.seed, Some(index as u64 + 1));
        }
    }
}

#[test]
fn the_settings_make_both_passes_again() {
    let pipeline = pipeline();
    let second_pass = SecondPass::new(2.0)
        .with_strength(0.7)
        .with_upscale(UpscaleMethod::Image);
    let request = two_passes(second_pass).with_sigmas([0.9, 0.6, 0.3]);
    let output = pipeline.generate(&request).unwrap();
    assert_eq!(output.settings.parameters.width, SIDE);
    assert_eq!(output.settings.sigmas.len(), 4);
    let json = serde_json::to_string(&output.settings).unwrap();
    let settings: GenerationSettings = serde_json::from_str(&json).unwrap();
    assert_eq!(settings, output.settings);
    let again = pipeline
        .generate(&GenerationRequest::from_settings(&settings))
        .unwrap();
    assert_eq!(again.images[0].image, output.images[0].image);
    assert_eq!(again.settings, output.settings);
}

#[test]
fn progress_profile_and_step_cache_cover_both_passes() {
    let pipeline = pipeline();
    let request = two_passes(SecondPass::new(2.0).with_strength(0.4))
        .with_step_cache(StepCacheKind::FirstBlock { threshold: 0.0 })
        .with_profile(true);
    let mut said = Vec::new();
    let output = pipeline
        .generate_with(&request, |progress| {
            said.push(match progress {
                Progress::EncodingPrompts { total_steps, .. } => format!("{total_steps} steps"),
                Progress::Denoising(step) => format!("{} of {}", step.completed, step.total),
                Progress::Upscaling {
                    width,
                    height,
                    steps,
                } => format!("{steps} at {width}x{height}"),
                Progress::DecodingLatents { .. } => "decoding".to_owned(),
                _ => "other".to_owned(),
            });
            ControlFlow::Continue(())
        })
        .unwrap();
    let expected = [
        "7 steps",
        "1 of 5",
        "2 of 5",
        "3 of 5",
        "4 of 5",
        "5 of 5",
        "2 at 64x64",
        "1 of 2",
        "2 of 2",
        "decoding",
    ];
    assert_eq!(said, expected);
    assert_eq!(output.profile.unwrap().forwards, 7);
    let cache = output.step_cache.unwrap();
    assert_eq!(cache.computed + cache.skipped, 7);

    let mut steps = 0;
    let canceled = pipeline.generate_with(&request, |progress| {
        steps += usize::from(matches!(progress, Progress::Denoising(_)));
        if steps == 6 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    match canceled.unwrap_err() {
        OvisImageError::Runtime(RuntimeError::Canceled {
            completed_steps,
            total_steps,
        }) => assert_eq!((completed_steps, total_steps), (6, 7)),
        error => panic!("{error}"),
    }
}

#[test]
fn what_is_no_second_pass_is_refused_before_the_work() {
    let pass = SecondPass::new(2.0);
    let channels = Checkpoint::open(base_model())
        .unwrap()
        .vae_config()
        .latent_channels;
    for (request, argument) in [
        (two_passes(SecondPass::new(0.5)), "second_pass.scale"),
        (two_passes(SecondPass::new(f64::NAN)), "second_pass.scale"),
        (two_passes(pass.with_strength(2.0)), "second_pass.strength"),
        (
            two_passes(pass).with_source_image(SourceImage::new(RgbImage::new(32, 32))),
            "second_pass",
        ),
        (
            two_passes(pass).with_latents(zeros([1, channels, 16, 16])),
            "second_pass",
        ),
        (two_passes(pass.with_steps(0)), "second_pass.steps"),
    ] {
        match pipeline().generate(&request).unwrap_err() {
            OvisImageError::Request(RequestError::InvalidArgument { argument: name, .. }) => {
                assert_eq!(name, argument)
            }
            error => panic!("{argument}: {error}"),
        }
    }
    let large = base()
        .with_size(8192, 16)
        .with_second_pass(SecondPass::new(4.0));
    let error = pipeline().generate(&large).unwrap_err().to_string();
    assert!(error.contains("32768x64"), "{error}");
}

#[test]
fn memory_is_estimated_for_the_larger_pass() {
    let checkpoint = Checkpoint::open(base_model()).unwrap();
    let estimate = |request: &GenerationRequest| {
        let options = LoadOptions::new();
        MemoryEstimate::new(&checkpoint, &options, request, DeviceMemory::Separate).unwrap()
    };
    let alone = estimate(&base().with_size(512, 512));
    let base = base().with_size(256, 256);
    let latent = SecondPass::new(2.0);
    assert_eq!(estimate(&base.clone().with_second_pass(latent)), alone);
    let image = latent.with_upscale(UpscaleMethod::Image);
    let image = estimate(&base.clone().with_second_pass(image));
    assert!(image.image_encoding > 0 && alone.image_encoding == 0);
    assert!(image.denoising > alone.denoising);

    let limited = LoadOptions::new().with_memory_limit(alone.denoising / 4);
    base.check(&checkpoint, &limited).unwrap();
    let refused = base
        .clone()
        .with_second_pass(latent)
        .check(&checkpoint, &limited);
    assert!(matches!(refused, Err(OvisImageError::Memory(_))));

    // The first pass has the size of a tile, the second is larger.
    let request = base.with_second_pass(SecondPass::new(4.0));
    let in_tiles = estimate(&request.clone().with_vae_tiling(VaeTiling::new(512)));
    let limit = in_tiles.peak + (1 << 20);
    assert!(limit < estimate(&request).peak);
    let (options, memory) = (LoadOptions::new(), DeviceMemory::Separate);
    let plan = MemoryPlan::fit(&checkpoint, options, request, limit, memory).unwrap();
    let tiling = plan.request.parameters().vae_tiling;
    assert_eq!(tiling, Some(VaeTiling::new(512)));
}
