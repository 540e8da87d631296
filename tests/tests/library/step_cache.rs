//! Tests of step caches in the pipeline: which predictions they skip, and that they skip none when
//! unnecessary.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use ovis_image::error::RequestError;
use ovis_image::sampling::StepPosition;
use ovis_image::sampling::guidance::SkipLayerGuidance;
use ovis_image::step_cache::{CachedPrediction, StepCache};
use ovis_image::transformer::StagedForward;
use ovis_image::{GenerationRequest, OvisImageError, SamplerKind, StepCacheKind};

use crate::support::{pipeline, request, values};

fn guided() -> GenerationRequest {
    request()
        .with_num_inference_steps(10)
        .with_guidance_scale(4.0)
}

/// Returns the final latents and the numbers of predictions computed and skipped.
fn run(request: GenerationRequest) -> (Vec<f32>, usize, usize) {
    let output = pipeline().generate(&request).unwrap();
    let report = output.step_cache.unwrap();
    (values(output.latents), report.computed, report.skipped)
}

fn taylor(interval: usize, order: usize, warmup: usize) -> StepCacheKind {
    StepCacheKind::Taylor {
        interval,
        order,
        warmup,
    }
}

#[test]
fn a_cache_that_may_skip_nothing_gives_the_same_bits() {
    let plain = pipeline().generate(&guided()).unwrap();
    assert!(plain.step_cache.is_none());
    let plain = values(plain.latents);
    for cache in [
        StepCacheKind::FirstBlock { threshold: 0.0 },
        StepCacheKind::Tea { threshold: 0.0 },
        taylor(1, 1, 0),
    ] {
        assert_eq!(
            run(guided().with_step_cache(cache)),
            (plain.clone(), 20, 0),
            "{cache}"
        );
    }
}

#[test]
fn each_branch_of_guidance_has_its_own_state() {
    // Every change is below the threshold: each branch computes its first step, TeaCache its last
    // as well.
    for (cache, of_each) in [
        (StepCacheKind::FirstBlock { threshold: 1e9 }, 1),
        (StepCacheKind::Tea { threshold: 1e9 }, 2),
        (taylor(100, 1, 1), 2),
    ] {
        let (_, computed, skipped) = run(guided().with_step_cache(cache));
        assert_eq!(
            (computed, skipped),
            (2 * of_each, 20 - 2 * of_each),
            "{cache}"
        );
        let unguided = guided().with_guidance_scale(1.0).with_step_cache(cache);
        let (_, computed, skipped) = run(unguided);
        assert_eq!((computed, skipped), (of_each, 10 - of_each), "{cache}");
    }
    let skip = SkipLayerGuidance::new([1], []).with_interval(0.0, 1.0);
    let cache = StepCacheKind::FirstBlock { threshold: 1e9 };
    let (_, computed, _) = run(guided().with_skip_layers(skip).with_step_cache(cache));
    assert_eq!(computed, 3);
}

#[test]
fn a_higher_threshold_skips_no_less() {
    let skipped = |cache| run(guided().with_step_cache(cache)).2;
    for of in [
        |threshold| StepCacheKind::FirstBlock { threshold },
        |threshold| StepCacheKind::Tea { threshold },
    ] {
        let counts: Vec<usize> = [0.0, 0.01, 0.1, 0.5, 10.0].map(|at| skipped(of(at))).into();
        assert!(counts.is_sorted(), "{counts:?}");
        assert!(counts[0] < counts[4], "{counts:?}");
    }
}

#[test]
fn forecasts_of_more_steps_are_further_from_the_image() {
    let plain = values(pipeline().generate(&guided()).unwrap().latents);
    let distance = |cache| {
        let latents = run(guided().with_step_cache(cache)).0;
        let squares = latents.iter().zip(&plain).map(|(a, b)| (a - b).powi(2));
        squares.sum::<f32>()
    };
    assert!(distance(taylor(2, 1, 3)) > 0.0);
    assert!(distance(taylor(2, 1, 3)) < distance(taylor(7, 1, 3)));
}

#[test]
fn a_cache_serves_streamed_blocks_and_guidance_of_any_kind() {
    use burn_flex::{Flex, FlexDevice};
    use ovis_image::{LoadOptions, OvisImagePipeline};
    let options = LoadOptions::new().with_streamed_blocks(100);
    let folder = crate::support::base_model();
    let streamed =
        OvisImagePipeline::<Flex>::from_pretrained(folder, options, &FlexDevice).unwrap();
    let request = guided().with_step_cache(StepCacheKind::FirstBlock { threshold: 0.05 });
    let here = pipeline().generate(&request).unwrap();
    let there = streamed.generate(&request).unwrap();
    assert_eq!(here.step_cache, there.step_cache);
    assert_eq!(values(here.latents), values(there.latents));
}

#[test]
fn numbers_that_make_no_cache_are_refused_before_the_work() {
    for cache in [
        StepCacheKind::FirstBlock { threshold: -1.0 },
        StepCacheKind::Tea {
            threshold: f32::NAN,
        },
        taylor(0, 1, 1),
        taylor(2, 99, 1),
    ] {
        let error = pipeline()
            .generate(&guided().with_step_cache(cache))
            .unwrap_err();
        assert!(
            matches!(
                error,
                OvisImageError::Request(RequestError::InvalidArgument {
                    argument: "step_cache",
                    ..
                })
            ),
            "{error}"
        );
    }
}

/// Runs the forward at every n-th call and returns the last prediction in between.
#[derive(Debug)]
struct EveryNth<B: Backend> {
    n: usize,
    calls: usize,
    last: Option<Tensor<B, 3>>,
}

impl<B: Backend> EveryNth<B> {
    fn new(n: usize) -> Self {
        Self {
            n,
            calls: 0,
            last: None,
        }
    }
}

impl<B: Backend> StepCache<B> for EveryNth<B> {
    fn predict(
        &mut self,
        forward: StagedForward<'_, B>,
        step: StepPosition,
    ) -> CachedPrediction<B> {
        assert!(step.index < step.total);
        let call = self.calls;
        self.calls += 1;
        match &self.last {
            Some(last) if !call.is_multiple_of(self.n) => CachedPrediction::reused(last.clone()),
            _ => {
                let prediction = forward.run();
                self.last = Some(prediction.clone());
                CachedPrediction::computed(prediction)
            }
        }
    }
}

/// Returns the final latents and the numbers of predictions computed and skipped, with this test's
/// cache.
fn run_custom(request: &GenerationRequest, n: usize) -> (Vec<f32>, usize, usize) {
    let pipeline = pipeline();
    let denoiser = pipeline.denoiser(request).unwrap();
    let mut denoiser = denoiser.with_step_cache(|| EveryNth::new(n));
    denoiser.by_ref().for_each(drop);
    let report = denoiser.step_cache_report().unwrap();
    (values(denoiser.latents()), report.computed, report.skipped)
}

#[test]
fn a_custom_cache_that_skips_nothing_gives_the_same_bits() {
    let plain = values(pipeline().generate(&guided()).unwrap().latents);
    assert_eq!(run_custom(&guided(), 1), (plain.clone(), 20, 0));
    // A custom cache replaces the request's.
    let request = guided().with_step_cache(StepCacheKind::Tea { threshold: 1e9 });
    assert_eq!(run_custom(&request, 1), (plain, 20, 0));
}

#[test]
fn a_custom_cache_has_a_state_for_each_branch_and_is_counted() {
    let plain = values(pipeline().generate(&guided()).unwrap().latents);
    let (latents, computed, skipped) = run_custom(&guided(), 2);
    assert_eq!((computed, skipped), (10, 10));
    assert_ne!(latents, plain);
    assert!(latents.iter().all(|value| value.is_finite()));
    // A state shared by both branches would have skipped the negative prompt's prediction at each
    // step.
    assert_eq!(run_custom(&guided(), 1000).1, 2);
    // Heun predicts twice per step, except in the last.
    let heun = guided()
        .with_guidance_scale(1.0)
        .with_sampler(SamplerKind::Heun);
    let (_, computed, skipped) = run_custom(&heun, 2);
    assert_eq!((computed, skipped), (10, 9));
}

#[test]
fn a_custom_cache_may_be_boxed() {
    let pipeline = pipeline();
    let kind = StepCacheKind::FirstBlock { threshold: 1e9 };
    let denoiser = pipeline.denoiser(&guided()).unwrap();
    let mut denoiser = denoiser.with_step_cache(|| kind.build());
    denoiser.by_ref().for_each(drop);
    let (latents, computed, skipped) = run(guided().with_step_cache(kind));
    assert_eq!(values(denoiser.latents()), latents);
    let report = denoiser.step_cache_report().unwrap();
    assert_eq!((report.computed, report.skipped), (computed, skipped));
}
