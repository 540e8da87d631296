//! Tests of sigmas and noise against torch's and diffusers'.

use ovis_image::config::SchedulerConfig;
use ovis_image::sampling::{FlowMatchEulerScheduler, NoiseGenerator, Schedule};
use ovis_image_tests::compare::largest_difference;
use ovis_image_tests::golden::{Golden, golden_folder};
use ovis_image_tests::tolerance::SIGMAS_AND_NOISE;
use serde::Deserialize;
use serde::de::DeserializeOwned;

fn read<T: DeserializeOwned>(name: &str) -> T {
    serde_json::from_slice(&std::fs::read(golden_folder().join(name)).unwrap()).unwrap()
}

#[derive(Deserialize)]
struct NoiseEntries {
    entries: Vec<NoiseEntry>,
}

#[derive(Deserialize)]
struct NoiseEntry {
    key: String,
    seed: u64,
    shape: Vec<usize>,
    dtype: String,
    #[serde(default)]
    after: Vec<usize>,
}

#[test]
fn noise_is_torchs_for_the_same_seed() {
    let golden = Golden::open(&golden_folder().join("noise.safetensors"));
    let mut compared = 0;
    for entry in read::<NoiseEntries>("noise.json").entries {
        let count: usize = entry.shape.iter().product();
        // torch draws half-precision values in another order for sizes that are not multiples of
        // 16; latents always are.
        if entry.dtype != "f32" && !count.is_multiple_of(16) {
            continue;
        }
        let mut generator = NoiseGenerator::from_seed(entry.seed);
        for before in &entry.after {
            generator.randn(*before);
        }
        let mut noise = generator.randn(count);
        if entry.dtype == "bf16" {
            noise
                .iter_mut()
                .for_each(|value| *value = half::bf16::from_f32(*value).to_f32());
        }
        let difference = largest_difference(&noise, &golden.values(&entry.key));
        let allowed = if entry.dtype == "bf16" {
            1.0 / 64.0
        } else {
            SIGMAS_AND_NOISE
        };
        assert!(difference <= allowed, "{}: {difference:.1e}", entry.key);
        compared += 1;
    }
    assert!(compared > 40, "only {compared} entries were compared");
}

#[derive(Deserialize)]
struct Schedules {
    schedules: Vec<GoldenSchedule>,
}

#[derive(Deserialize)]
struct GoldenSchedule {
    name: String,
    steps: usize,
    image_tokens: Option<usize>,
    dynamic: bool,
    shift: f64,
    mu: Option<f64>,
    custom_sigmas: Option<Vec<f32>>,
    sigmas: Vec<f32>,
}

#[test]
fn sigmas_are_diffusers() {
    let scheduler = FlowMatchEulerScheduler::new(SchedulerConfig::ovis_image_7b()).unwrap();
    for golden in read::<Schedules>("schedules.json").schedules {
        let schedule = match (golden.dynamic, golden.image_tokens, golden.mu) {
            (false, ..) => Schedule::FixedShift(golden.shift),
            (true, Some(_), _) => Schedule::Dynamic,
            (true, None, Some(mu)) => Schedule::FixedMu(mu),
            (true, None, None) => panic!("{} has neither tokens nor mu", golden.name),
        };
        let tokens = golden.image_tokens.unwrap_or(1);
        let sigmas = match &golden.custom_sigmas {
            Some(sigmas) => scheduler.custom_sigmas(schedule, sigmas, tokens),
            None => scheduler.sigmas(schedule, golden.steps, tokens),
        };
        let difference = largest_difference(&sigmas.unwrap(), &golden.sigmas);
        assert!(
            difference <= SIGMAS_AND_NOISE,
            "{}: {difference:.1e}",
            golden.name
        );
    }
}
