//! Tests of guidance in the pipeline: the number of predictions and their results.

use ovis_image::error::RequestError;
use ovis_image::sampling::guidance::SkipLayerGuidance;
use ovis_image::{GenerationRequest, GuidanceMethod, OvisImageError};

use crate::support::{pipeline, request, values};

fn guided() -> GenerationRequest {
    request()
        .with_num_inference_steps(10)
        .with_guidance_scale(4.0)
        .with_profile(true)
}

/// Returns the final latents and the number of predictions.
fn run(request: GenerationRequest) -> (Vec<f32>, usize) {
    let output = pipeline().generate(&request).unwrap();
    (values(output.latents), output.profile.unwrap().forwards)
}

#[test]
fn outside_of_the_interval_one_prediction_is_made() {
    let (plain, predictions) = run(guided());
    assert_eq!(predictions, 20);
    assert_eq!(run(guided().with_guidance_interval(0.0, 1.0)), (plain, 20));
    let (_, predictions) = run(guided().with_guidance_interval(0.2, 0.7));
    assert_eq!(predictions, 15);
}

#[test]
fn an_interval_that_holds_no_step_is_no_guidance() {
    let (unguided, predictions) = run(guided().with_guidance_scale(1.0));
    assert_eq!(predictions, 10);
    assert_eq!(
        run(guided().with_guidance_interval(0.01, 0.05)),
        (unguided, 10)
    );
}

#[test]
fn steps_that_stand_still_make_no_prediction() {
    let zero_star = |zero_init_steps| GuidanceMethod::ZeroStar { zero_init_steps };
    let (_, predictions) = run(guided().with_guidance_method(zero_star(2)));
    assert_eq!(predictions, 16);
    let all = run(guided().with_guidance_method(zero_star(10)));
    let noise = pipeline().generate(&guided()).unwrap().initial_latents;
    assert_eq!(all, (values(noise), 0));
}

#[test]
fn projection_that_takes_nothing_away_is_plain_guidance() {
    let method = GuidanceMethod::AdaptiveProjected {
        eta: 1.0,
        momentum: 0.0,
        norm_threshold: 0.0,
    };
    let (plain, _) = run(guided());
    let (projected, _) = run(guided().with_guidance_method(method));
    let pairs = plain.iter().zip(&projected);
    let difference = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(difference < 1e-4, "{difference:.1e}");
}

#[test]
fn skipped_layers_take_a_prediction_in_their_steps_only() {
    let skip = SkipLayerGuidance::new([1], [0]).with_interval(0.0, 0.5);
    let (skipped, predictions) = run(guided().with_skip_layers(skip.clone()));
    // As in diffusers, the first step of the interval is outside.
    assert_eq!(predictions, 24);
    let (plain, _) = run(guided());
    assert_ne!(skipped, plain);
    assert_eq!(
        run(guided().with_skip_layers(skip.with_scale(0.0))),
        (plain, 20)
    );
}

#[test]
fn methods_are_not_used_without_guidance() {
    let (unguided, _) = run(guided().with_guidance_scale(1.0));
    for method in [
        GuidanceMethod::ZeroStar { zero_init_steps: 3 },
        GuidanceMethod::APG,
    ] {
        let request = guided()
            .with_guidance_scale(1.0)
            .with_guidance_method(method);
        assert_eq!(run(request), (unguided.clone(), 10));
    }
}

#[test]
fn what_cannot_guide_is_refused_before_the_work() {
    let skip = |double: &[usize], single: &[usize]| {
        guided().with_skip_layers(SkipLayerGuidance::new(double.to_vec(), single.to_vec()))
    };
    let bad_momentum = GuidanceMethod::AdaptiveProjected {
        eta: 0.0,
        momentum: 2.0,
        norm_threshold: 0.0,
    };
    for (request, name) in [
        (guided().with_guidance_scale(f32::NAN), "guidance_scale"),
        (
            guided().with_guidance_interval(0.8, 0.2),
            "guidance_interval",
        ),
        (
            guided().with_guidance_interval(-0.1, 0.2),
            "guidance_interval",
        ),
        (
            guided().with_guidance_interval(0.0, f64::NAN),
            "guidance_interval",
        ),
        (
            guided().with_guidance_method(bad_momentum),
            "guidance_method",
        ),
        (skip(&[], &[]), "skip_layers"),
        (skip(&[99], &[]), "skip_layers"),
        (skip(&[], &[99]), "skip_layers"),
    ] {
        match pipeline().generate(&request).unwrap_err() {
            OvisImageError::Request(RequestError::InvalidArgument { argument, .. }) => {
                assert_eq!(argument, name)
            }
            error => panic!("{error}"),
        }
    }
}
