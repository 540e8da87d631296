//! Tests of samplers on differential equations with known solutions.

use super::{Sampler, SamplerKind, SamplerStep};
use crate::config::SchedulerConfig;
use crate::sampling::{FlowMatchEulerScheduler, Schedule};
use crate::testing::{TestBackend, TestTensor, assert_close, random};

const DETERMINISTIC: [SamplerKind; 5] = [
    SamplerKind::Euler,
    SamplerKind::Heun,
    SamplerKind::DpmSolver2M,
    SamplerKind::UniPc,
    SamplerKind::EulerAncestral { eta: 0.0 },
];

fn latents(seed: u64) -> TestTensor<3> {
    random(seed, [1, 2, 4])
}

fn sigmas(steps: usize) -> Vec<f32> {
    let scheduler = FlowMatchEulerScheduler::new(SchedulerConfig::ovis_image_7b()).unwrap();
    scheduler.sigmas(Schedule::Dynamic, steps, 1024).unwrap()
}

/// Computes the latents at each sigma after the first, given a model of the velocity.
fn run(
    kind: SamplerKind,
    sigmas: &[f32],
    start: TestTensor<3>,
    model: impl Fn(&TestTensor<3>, f32) -> TestTensor<3>,
) -> Vec<TestTensor<3>> {
    let mut sampler: Box<dyn Sampler<TestBackend>> = kind.build();
    let mut at = start;
    (0..sigmas.len() - 1)
        .map(|index| {
            let velocity = model(&at, sigmas[index]);
            let mut again = |latents: TestTensor<3>, sigma| model(&latents, sigma);
            let mut noise = || latents(9);
            let mut step = SamplerStep::new(index, sigmas, velocity, &mut again, &mut noise);
            at = sampler.step(&mut step, at.clone());
            at.clone()
        })
        .collect()
}

#[test]
fn euler_on_the_velocity_of_a_straight_path_lands_on_the_clean_latents() {
    let (noise, clean) = (latents(1), latents(2));
    for steps in [1, 2, 7] {
        let velocity = noise.clone() - clean.clone();
        let path = run(SamplerKind::Euler, &sigmas(steps), noise.clone(), |_, _| {
            velocity.clone()
        });
        assert_close(path[steps - 1].clone(), clean.clone(), 1e-6);
    }
}

/// Checks data that consist of one point, where the solution is the line `clean + sigma *
/// direction`.
#[test]
fn every_sampler_follows_the_rays_from_one_point_exactly() {
    let (clean, direction) = (latents(1), latents(2));
    // The sigmas start below 1: multistep solvers' steps from pure noise are infinitely wide.
    let sigmas = [0.9, 0.7, 0.4, 0.15, 0.0];
    for kind in DETERMINISTIC {
        let at = |sigma: f32| clean.clone() + direction.clone() * sigma;
        let path = run(kind, &sigmas, at(sigmas[0]), |latents, sigma| {
            (latents.clone() - clean.clone()) / sigma
        });
        for (latents, sigma) in path.into_iter().zip(&sigmas[1..]) {
            assert_close(latents, at(*sigma), 2e-6);
        }
    }
}

#[test]
fn heun_is_exact_where_the_velocity_is_linear_in_sigma() {
    let (start, slope) = (latents(1), latents(2));
    // The final 0 is left out, because the last step to 0 would be Euler's.
    let sigmas = [1.0, 0.6, 0.3, 0.1];
    let path = run(SamplerKind::Heun, &sigmas, start.clone(), |_, sigma| {
        slope.clone() * sigma
    });
    for (latents, sigma) in path.into_iter().zip(&sigmas[1..]) {
        // The integral of `slope * sigma`.
        let expected = start.clone() + slope.clone() * (0.5 * (sigma * sigma - 1.0));
        assert_close(latents, expected, 1e-6);
    }
}

#[test]
fn half_the_step_is_half_the_error_of_euler_and_a_quarter_of_second_order() {
    let start = latents(1);
    let error = |kind, steps: usize| {
        let (from, to) = (0.8f32, 0.2f32);
        let at = |step: usize| from + (to - from) * step as f32 / steps as f32;
        let sigmas: Vec<f32> = (0..=steps).map(at).collect();
        let path = run(kind, &sigmas, start.clone(), |latents, sigma| {
            latents.clone() * sigma
        });
        // x' = sigma x
        let exact = start.clone() * (0.5 * (to * to - from * from)).exp();
        let difference = path[steps - 1].clone() - exact;
        difference.abs().max().into_scalar()
    };
    for (kind, expected) in [
        (SamplerKind::Euler, 1.8..2.2),
        (SamplerKind::Heun, 3.3..4.7),
        (SamplerKind::DpmSolver2M, 3.3..4.7),
    ] {
        let ratio = error(kind, 10) / error(kind, 20);
        assert!(expected.contains(&ratio), "{kind}: {ratio}");
    }
}

#[test]
fn lcm_goes_to_the_prediction_and_back_with_fresh_noise() {
    let clean = latents(1);
    let sigmas = [1.0, 0.5, 0.0];
    let path = run(SamplerKind::Lcm, &sigmas, latents(3), |latents, sigma| {
        (latents.clone() - clean.clone()) / sigma
    });
    let renewed = clean.clone() * 0.5 + latents(9) * 0.5;
    assert_close(path[0].clone(), renewed, 1e-6);
    assert_close(path[1].clone(), clean, 1e-6);
}

#[test]
fn noise_is_added_and_predicted_away_along_the_straight_path() {
    let (clean, noise) = (latents(1), latents(2));
    let velocity = noise.clone() - clean.clone();
    let at = |sigma| FlowMatchEulerScheduler::add_noise(clean.clone(), noise.clone(), sigma);
    assert_close(at(0.0), clean.clone(), 0.0);
    assert_close(at(1.0), noise.clone(), 0.0);
    for sigma in [0.2, 0.9] {
        let predicted =
            FlowMatchEulerScheduler::predicted_clean(at(sigma), velocity.clone(), sigma);
        assert_close(predicted, clean.clone(), 1e-6);
        let step = FlowMatchEulerScheduler::step(at(sigma), velocity.clone(), sigma, 0.1);
        assert_close(step, at(0.1), 1e-6);
    }
}
