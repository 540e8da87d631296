//! Tests of training against torch and diffusers: gradients, steps, and the state of a run
//! (`tests/reference/training.py`).

use std::path::Path;

use burn::backend::Autodiff;
use burn::tensor::{DType, Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use ovis_image::checkpoint::PartPaths;
use ovis_image::training::{
    AdamWConfig, FlowMatching, FlowMatchingConfig, ImageBatch, ImageModels, LearningRate,
    Objective, ParameterMap, PromptBatch, Recomputation, Trainer, TrainerConfig, TrainingState,
};
use ovis_image::transformer::OvisImageTransformer;
use ovis_image::{Checkpoint, CheckpointPaths, LoadOptions, OvisImagePipeline};
use ovis_image_tests::compare::relative_error;
use ovis_image_tests::golden::golden_folder;
use safetensors::SafeTensors;
use serde::Deserialize;

use crate::support::{base_model, pipeline, values};

type B = Autodiff<Flex>;

#[derive(Deserialize)]
struct Expected {
    weight_decay: f64,
    steps: Vec<ExpectedStep>,
}

#[derive(Deserialize)]
struct ExpectedStep {
    step: u64,
    loss: f64,
    grad_norm: f64,
}

fn file(name: &str) -> std::path::PathBuf {
    golden_folder().join("training").join(name)
}

fn expected() -> Expected {
    serde_json::from_slice(&std::fs::read(file("expected.json")).unwrap()).unwrap()
}

/// Loads tensors with the names of diffusers' transformer as a transformer of ours.
fn transformer(path: &Path) -> OvisImageTransformer<Flex> {
    let folder = tempfile::tempdir().unwrap();
    let original = base_model().join("transformer/config.json");
    std::fs::copy(original, folder.path().join("config.json")).unwrap();
    let weights = folder.path().join("diffusion_pytorch_model.safetensors");
    std::fs::copy(path, weights).unwrap();
    let parts = PartPaths {
        transformer: Some(folder.path().to_owned()),
        ..PartPaths::default()
    };
    let paths = CheckpointPaths::discover_with(&base_model(), &parts).unwrap();
    let checkpoint = Checkpoint::open_paths(&paths).unwrap();
    let pipeline =
        OvisImagePipeline::<Flex>::from_checkpoint(&checkpoint, LoadOptions::new(), &FlexDevice);
    pipeline.unwrap().transformer().clone()
}

fn models() -> ImageModels<Flex> {
    ImageModels {
        transformer: pipeline().transformer().clone(),
        text_encoder: None,
        auxiliary: None,
    }
}

/// Batch of a step of the recorded run.
fn batch(replay: &SafeTensors<'_>, step: usize) -> ImageBatch<Flex> {
    let floats = |name: &str| -> (Vec<f32>, Vec<usize>) {
        let view = replay.tensor(&format!("step_{step:03}.{name}")).unwrap();
        let bytes = view.data().chunks_exact(4);
        let values = bytes.map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        (values.collect(), view.shape().to_vec())
    };
    let tensor = |name: &str| {
        let (values, shape) = floats(name);
        Tensor::<Flex, 3>::from_data(TensorData::new(values, shape), (&FlexDevice, DType::F32))
    };
    let grid = replay.tensor(&format!("step_{step:03}.grid")).unwrap();
    let grid: Vec<i64> = grid
        .data()
        .chunks_exact(8)
        .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
        .collect();
    ImageBatch {
        latents: tensor("latents"),
        noise: tensor("noise"),
        timesteps: floats("timesteps").0,
        grid: [grid[0] as usize, grid[1] as usize],
        prompts: PromptBatch::Encoded(tensor("prompt_embeds")),
        token_weights: None,
        characters: None,
    }
}

fn config() -> TrainerConfig {
    TrainerConfig {
        total_steps: 20,
        learning_rate: LearningRate::constant(1e-3),
        adamw: AdamWConfig {
            betas: [0.9, 0.95],
            eps: 1e-8,
            weight_decay: expected().weight_decay,
        },
        max_grad_norm: Some(1.0),
        ema_decay: Some(0.99),
        ..TrainerConfig::default()
    }
}

fn objective(recomputation: Recomputation) -> FlowMatching {
    FlowMatching::new(FlowMatchingConfig {
        recomputation,
        ..FlowMatchingConfig::default()
    })
}

fn trainer(recomputation: Recomputation, config: TrainerConfig) -> Trainer<B, FlowMatching> {
    Trainer::new(objective(recomputation), models(), config).unwrap()
}

/// Largest error of a parameter, relative to its own norm or, for a small one, to a hundredth of
/// the largest norm.
fn worst(actual: &ParameterMap<Flex>, expected: &ParameterMap<Flex>) -> (String, f64) {
    let norm = |values: &[f32]| {
        values
            .iter()
            .map(|v| f64::from(*v).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    let largest = expected
        .iter()
        .map(|(_, tensor)| norm(&values(tensor.clone())));
    let floor = largest.fold(0.0, f64::max) / 100.0;
    let errors = expected.iter().map(|(path, expected)| {
        let found = actual.get(path).unwrap_or_else(|| panic!("no `{path}`"));
        let (found, expected) = (values(found.clone()), values(expected.clone()));
        let size = norm(&expected);
        let error = relative_error(&found, &expected) * size / size.max(floor);
        (path.to_owned(), error)
    });
    errors.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
}

#[test]
fn gradients_of_every_parameter_equal_torch() {
    let bytes = std::fs::read(file("replay.safetensors")).unwrap();
    let replay = SafeTensors::deserialize(&bytes).unwrap();
    let expected = ParameterMap::of_module(&transformer(&file("first_gradients.safetensors")));
    let with_prefix: ParameterMap<Flex> = expected
        .into_iter()
        .map(|(path, tensor)| (format!("transformer.{path}"), tensor))
        .collect();
    for recomputation in [Recomputation::None, Recomputation::Blocks] {
        let objective = objective(recomputation);
        let outcome = Objective::<B>::gradients(&objective, &models(), batch(&replay, 0)).unwrap();
        assert_eq!(outcome.gradients.len(), with_prefix.len());
        let (path, error) = worst(&outcome.gradients, &with_prefix);
        assert!(error < 1e-5, "{recomputation:?}: {path}: {error:e}");
    }
}

#[test]
fn twenty_steps_equal_torch() {
    let bytes = std::fs::read(file("replay.safetensors")).unwrap();
    let replay = SafeTensors::deserialize(&bytes).unwrap();
    for recomputation in [Recomputation::None, Recomputation::Blocks] {
        let mut trainer = trainer(recomputation, config());
        for (index, expected) in expected().steps.iter().enumerate() {
            let report = trainer.micro_step(batch(&replay, index)).unwrap().unwrap();
            assert_eq!(report.step, expected.step);
            for (name, found, expected) in [
                ("loss", report.terms.loss(), expected.loss),
                ("norm", report.grad_norm, expected.grad_norm),
            ] {
                let error = (found - expected).abs() / expected;
                assert!(error < 1e-5, "step {}: {name}: {error:e}", report.step);
            }
        }
        assert!(trainer.is_finished());
        let found = ParameterMap::of_module(&trainer.models().transformer);
        let expected = ParameterMap::of_module(&transformer(&file("last_weights.safetensors")));
        let (path, error) = worst(&found, &expected);
        assert!(error < 1e-4, "{recomputation:?}: {path}: {error:e}");
    }
}

#[test]
fn a_run_that_is_resumed_equals_one_that_was_not() {
    let bytes = std::fs::read(file("replay.safetensors")).unwrap();
    let replay = SafeTensors::deserialize(&bytes).unwrap();
    let config = TrainerConfig {
        accumulation: 3,
        total_steps: 6,
        ..config()
    };
    let mut whole = trainer(Recomputation::None, config.clone());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    for index in 0..18 {
        // In the middle of a step.
        if index == 7 {
            let note = serde_json::json!({"data": 7});
            whole.state().save(&path, &note).unwrap();
        }
        whole.micro_step(batch(&replay, index)).unwrap();
    }
    let (state, note) = TrainingState::load(&path, &FlexDevice).unwrap();
    assert_eq!((state.steps(), note["data"].as_u64()), (2, Some(7)));
    let mut resumed = trainer(Recomputation::None, config);
    resumed.restore(state).unwrap();
    assert_eq!(resumed.batches(), 7);
    for index in 7..18 {
        resumed.micro_step(batch(&replay, index)).unwrap();
    }
    let bits = |map: &ParameterMap<Flex>| -> Vec<u32> {
        let tensors = map.iter().flat_map(|(_, tensor)| values(tensor.clone()));
        tensors.map(f32::to_bits).collect()
    };
    let (whole, resumed) = (whole.state(), resumed.state());
    assert_eq!(bits(whole.parameters()), bits(resumed.parameters()));
    assert_eq!(
        bits(whole.average().unwrap()),
        bits(resumed.average().unwrap())
    );
}

#[test]
fn the_state_of_another_model_is_refused() {
    let mut trainer = trainer(Recomputation::None, config());
    let mut config = pipeline().transformer().config();
    config.num_layers = 1;
    let other = ImageModels {
        transformer: config.init::<Flex>(&FlexDevice),
        text_encoder: None,
        auxiliary: None,
    };
    let other: Trainer<B, FlowMatching> =
        Trainer::new(objective(Recomputation::None), other, self::config()).unwrap();
    let error = trainer.restore(other.state()).unwrap_err();
    assert!(error.to_string().contains("double_blocks.1"), "{error}");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refuse = |change: fn(&mut TrainerConfig), name: &str| {
        let mut config = config();
        change(&mut config);
        let error = config.validate().unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    };
    refuse(|c| c.learning_rate.peak = f64::NAN, "learning_rate");
    refuse(|c| c.learning_rate.peak = -1.0, "learning_rate");
    refuse(|c| c.adamw.betas[1] = 1.0, "adam_betas");
    refuse(|c| c.max_grad_norm = Some(0.0), "max_grad_norm");
    refuse(|c| c.ema_decay = Some(1.0), "ema_decay");
    refuse(|c| c.accumulation = 0, "steps");
}

#[test]
fn steps_that_are_not_finite_are_skipped_until_there_are_too_many() {
    let bytes = std::fs::read(file("replay.safetensors")).unwrap();
    let replay = SafeTensors::deserialize(&bytes).unwrap();
    let mut trainer = trainer(
        Recomputation::None,
        TrainerConfig {
            most_skipped: 2,
            ..config()
        },
    );
    let broken = || {
        let mut batch = batch(&replay, 0);
        batch.latents = batch.latents * f32::INFINITY;
        batch
    };
    let before = ParameterMap::of_module(trainer.models());
    assert!(trainer.micro_step(broken()).unwrap().unwrap().skipped);
    let after = ParameterMap::of_module(trainer.models());
    assert_eq!(worst(&after, &before).1, 0.0);
    assert!(
        !trainer
            .micro_step(batch(&replay, 1))
            .unwrap()
            .unwrap()
            .skipped
    );
    assert!(trainer.micro_step(broken()).unwrap().unwrap().skipped);
    let error = trainer.micro_step(broken()).unwrap_err();
    assert!(error.to_string().contains("diverged"), "{error}");
}
