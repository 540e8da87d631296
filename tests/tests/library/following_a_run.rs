//! Tests of progress, previews, canceling, and making an image again.

use std::ops::ControlFlow;

use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use ovis_image::GenerationSettings;
use ovis_image::error::{RequestError, RuntimeError};
use ovis_image::sampling::guidance::SkipLayerGuidance;
use ovis_image::vae::VaeTiling;
use ovis_image::{
    GenerationRequest, GuidanceMethod, OvisImageError, Progress, SamplerKind, Schedule,
    SigmaSpacing, StepCacheKind,
};

use crate::support::{pipeline, request};

#[test]
fn a_preview_is_nearer_to_the_picture_than_its_mean_color() {
    let pipeline = pipeline();
    let decoder = pipeline.preview_decoder().unwrap();
    // This image is unlike those that the map was fitted to.
    let picture = RgbImage::from_fn(128, 128, |x, y| {
        Rgb([x as u8 * 2, y as u8 * 2, (x + y) as u8])
    });
    let latents = pipeline.encode_image(&picture).unwrap();
    let [_, _, height, width] = latents.dims();
    let preview = decoder.images(latents).unwrap().remove(0);
    assert_eq!(preview.dimensions(), (width as u32, height as u32));
    let small = imageops::resize(&picture, width as u32, height as u32, FilterType::Triangle);
    let error = |of: &dyn Fn(usize) -> f32| {
        let values = small.as_raw().iter().enumerate();
        values
            .map(|(at, value)| (of(at) - f32::from(*value)).powi(2))
            .sum::<f32>()
    };
    let count = small.as_raw().len() / 3;
    let mean = |at: usize| {
        let color = small.pixels().map(|pixel| f32::from(pixel[at % 3]));
        color.sum::<f32>() / count as f32
    };
    let by_preview = error(&|at| f32::from(preview.as_raw()[at]));
    let by_mean = error(&mean);
    // The VAE is random, and little of its encoding is linear in the colors.
    assert!(by_preview < 0.95 * by_mean, "{by_preview} and {by_mean}");
}

#[test]
fn each_step_has_a_preview_of_each_image_and_an_estimate_of_the_time_left() {
    let pipeline = pipeline();
    let decoder = pipeline.preview_decoder().unwrap();
    let request = request().with_size(32, 16).with_images_per_prompt(2);
    for step in pipeline.denoiser(&request).unwrap() {
        let pictures = step.preview(&decoder).unwrap();
        assert_eq!(pictures.len(), 2);
        assert_eq!(pictures[0].width(), 2 * pictures[0].height());
        assert_eq!(step.remaining().is_zero(), step.completed == step.total);
    }
}

#[test]
fn latents_of_another_model_have_no_preview() {
    let decoder = pipeline().preview_decoder().unwrap();
    let latents =
        burn::tensor::Tensor::<burn_flex::Flex, 4>::zeros([1, 3, 2, 2], &burn_flex::FlexDevice);
    let error = decoder.images(latents).unwrap_err();
    assert!(
        matches!(
            error,
            OvisImageError::Request(RequestError::ShapeMismatch { .. })
        ),
        "{error}"
    );
}

#[test]
fn a_canceled_run_leaves_the_pipeline_as_it_was() {
    let pipeline = pipeline();
    let request = request()
        .with_num_inference_steps(4)
        .with_guidance_scale(3.0)
        .with_sampler(SamplerKind::DpmSolver2M)
        .with_step_cache(StepCacheKind::FirstBlock { threshold: 0.1 });
    let before = pipeline.generate(&request).unwrap();
    let canceled = pipeline.generate_with(&request, |progress| match progress {
        Progress::Denoising(step) if step.completed == 2 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    assert!(matches!(
        canceled,
        Err(OvisImageError::Runtime(RuntimeError::Canceled {
            completed_steps: 2,
            total_steps: 4
        }))
    ));
    let after = pipeline.generate(&request).unwrap();
    assert_eq!(before.images[0].image, after.images[0].image);
}

#[test]
fn a_profile_adds_up_to_the_denoising() {
    let plain = request()
        .with_num_inference_steps(3)
        .with_guidance_scale(3.0);
    let output = pipeline()
        .generate(&plain.clone().with_profile(true))
        .unwrap();
    let profile = output.profile.unwrap();
    let parts = [
        profile.modulation,
        profile.embedding,
        profile.double_blocks,
        profile.single_blocks,
        profile.final_layer,
        profile.guidance,
        profile.sampler,
    ];
    assert!(parts.iter().all(|part| !part.is_zero()), "{profile:?}");
    assert!(parts.iter().sum::<std::time::Duration>() <= output.timings.denoising);
    assert_eq!(profile.forwards, 6);
    let unmeasured = pipeline().generate(&plain).unwrap();
    assert!(unmeasured.profile.is_none());
    assert_eq!(unmeasured.images[0].image, output.images[0].image);
}

fn requests() -> Vec<GenerationRequest> {
    let base = || {
        request()
            .with_num_inference_steps(4)
            .with_guidance_scale(3.0)
    };
    vec![
        base(),
        base()
            .with_negative_prompt("blurry")
            .with_seed(9)
            .with_images_per_prompt(2),
        base()
            .with_prompts(["a", "b"])
            .with_negative_prompts(["c", "d"])
            .with_seed_per_image([u64::MAX, 8]),
        base()
            .with_sampler(SamplerKind::EulerAncestral { eta: 0.3 })
            .with_schedule(Schedule::FixedShift(2.5))
            .with_sigma_spacing(SigmaSpacing::Karras),
        base()
            .with_guidance_method(GuidanceMethod::APG)
            .with_guidance_interval(0.25, 0.9)
            .with_skip_layers(SkipLayerGuidance::new([1], [0]).with_interval(0.0, 0.7)),
        base().with_step_cache(StepCacheKind::Tea { threshold: 0.3 }),
        base()
            .with_sigmas([0.9, 0.5, 0.2])
            .with_schedule(Schedule::Unshifted),
        base().with_size(64, 64).with_vae_tiling(VaeTiling::new(32)),
        base().with_guidance_scale(1.0),
        base().with_max_sequence_length(48),
    ]
}

#[test]
fn settings_read_back_from_json_make_the_image_again() {
    for request in requests() {
        let output = pipeline().generate(&request).unwrap();
        let json = serde_json::to_string(&output.settings).unwrap();
        let settings: GenerationSettings = serde_json::from_str(&json).unwrap();
        assert_eq!(settings, output.settings);
        let again = GenerationRequest::from_settings(&settings);
        let again = pipeline().generate(&again).unwrap();
        assert_eq!(again.settings, output.settings);
        for (image, expected) in again.images.iter().zip(&output.images) {
            assert_eq!(image.image, expected.image, "{json}");
        }
    }
}

#[test]
fn settings_are_one_flat_object_and_older_ones_are_read() {
    let output = pipeline().generate(&request()).unwrap();
    let mut json = serde_json::to_value(&output.settings).unwrap();
    let object = json.as_object_mut().unwrap();
    let keys: Vec<&str> = object.keys().map(String::as_str).collect();
    let mut expected = [
        "backend",
        "custom_sigmas",
        "dtype",
        "guidance_interval",
        "guidance_method",
        "guidance_scale",
        "height",
        "images_per_prompt",
        "is_seed_shared",
        "loras",
        "max_sequence_length",
        "negative_prompts",
        "num_inference_steps",
        "prompt_reports",
        "prompts",
        "sampler",
        "schedule",
        "second_pass",
        "second_pass_run",
        "seeds",
        "sigma_spacing",
        "sigmas",
        "skip_layers",
        "source",
        "step_cache",
        "vae_dtype",
        "vae_tiling",
        "width",
    ];
    expected.sort_unstable();
    let mut keys = keys;
    keys.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(object["schedule"], "dynamic");
    // Settings that were added later get the value that was implied before.
    for key in [
        "max_sequence_length",
        "guidance_method",
        "guidance_interval",
        "skip_layers",
        "sampler",
        "sigma_spacing",
        "step_cache",
        "source",
        "second_pass",
        "second_pass_run",
        "custom_sigmas",
    ] {
        object.remove(key).unwrap();
    }
    let settings: GenerationSettings = serde_json::from_value(json).unwrap();
    assert_eq!(settings, output.settings);
}
