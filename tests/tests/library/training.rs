//! Tests of training against torch and diffusers: gradients, steps, and the state of a run
//! (`tests/reference/training.py`).

use std::collections::BTreeMap;

use burn::backend::Autodiff;
use burn::tensor::{DType, Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use ovis_image::training::{
    AdafactorConfig, AdamWConfig, Autoencoding, AutoencodingConfig, FlowMatching,
    FlowMatchingConfig, ImageModels, LearningRate, Objective, OptimizerConfig, ParameterMap,
    PixelBatch, PixelError, Recomputation, Trainer, TrainerConfig, TrainingState,
};
use ovis_image_tests::training::{batch, file, floats, loaded, worst};
use safetensors::SafeTensors;
use serde::Deserialize;

use crate::support::{pipeline, values};

type B = Autodiff<Flex>;

#[derive(Deserialize)]
struct Expected {
    weight_decay: f64,
    steps: Vec<ExpectedStep>,
    autoencoder: BTreeMap<PixelError, ExpectedAutoencoder>,
}

#[derive(Deserialize)]
struct ExpectedAutoencoder {
    terms: BTreeMap<String, f64>,
    grad_norm: f64,
}

#[derive(Deserialize)]
struct ExpectedStep {
    step: u64,
    loss: f64,
    grad_norm: f64,
}

fn expected() -> Expected {
    serde_json::from_slice(&std::fs::read(file("expected.json")).unwrap()).unwrap()
}

fn models() -> ImageModels<Flex> {
    ImageModels {
        transformer: pipeline().transformer().clone(),
        text_encoder: None,
        auxiliary: None,
    }
}

fn config() -> TrainerConfig {
    TrainerConfig {
        total_steps: 20,
        learning_rate: LearningRate::constant(1e-3),
        optimizer: OptimizerConfig::AdamW(AdamWConfig {
            betas: [0.9, 0.95],
            eps: 1e-8,
            weight_decay: expected().weight_decay,
        }),
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

fn pixel_batch() -> PixelBatch<Flex> {
    let bytes = std::fs::read(file("autoencoder_batch.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |name: &str| {
        let view = tensors.tensor(name).unwrap();
        let values: Vec<f32> = floats(view.data());
        let data = TensorData::new(values, view.shape().to_vec());
        Tensor::<Flex, 4>::from_data(data, (&FlexDevice, DType::F32))
    };
    PixelBatch {
        pixels: tensor("pixels"),
        noise: tensor("noise"),
    }
}

fn autoencoding(pixel_error: PixelError, train_encoder: bool) -> Autoencoding {
    Autoencoding::new(AutoencodingConfig {
        pixel_error,
        edge_weight: 0.7,
        kl_weight: 0.01,
        train_encoder,
    })
}

#[test]
fn gradients_of_the_autoencoder_equal_torch() {
    let batch = pixel_batch();
    let model = pipeline().vae().clone();
    for (pixel_error, expected) in expected().autoencoder {
        let objective = autoencoding(pixel_error, true);
        let outcome = Objective::<B>::gradients(&objective, &model, batch.clone()).unwrap();
        let near = |name: &str, value: f64, expected: f64| {
            let error = (value - expected).abs() / expected;
            assert!(error < 1e-5, "{pixel_error:?}, {name}: {error:e}");
        };
        for (name, expected) in expected.terms {
            near(&name, outcome.terms.0[name.as_str()], expected);
        }
        let squares = outcome.gradients.clone().into_iter();
        let squares = squares.flat_map(|(_, gradient)| values(gradient));
        let squares: f64 = squares.map(|value| f64::from(value).powi(2)).sum();
        near("norm of the gradients", squares.sqrt(), expected.grad_norm);
        let alone = Objective::<B>::loss(&objective, &model, batch.clone()).unwrap();
        assert!((alone.loss() - outcome.terms.loss()).abs() < 1e-6);
    }
    let objective = autoencoding(PixelError::Absolute, true);
    let outcome = Objective::<B>::gradients(&objective, &model, batch).unwrap();
    let gradients = loaded::<Flex>(
        "vae",
        &file("autoencoder_gradients.safetensors"),
        &FlexDevice,
    );
    let expected = ParameterMap::of_module(gradients.vae());
    let (path, error) = worst(&outcome.gradients, &expected);
    assert!(error < 1e-5, "{path}: {error:e}");
}

#[test]
fn a_frozen_encoder_leaves_the_gradients_of_the_decoder_as_they_are() {
    let model = pipeline().vae().clone();
    let gradients = |train_encoder| {
        let objective = autoencoding(PixelError::Squared, train_encoder);
        let outcome = Objective::<B>::gradients(&objective, &model, pixel_batch()).unwrap();
        let gradients = outcome.gradients.into_iter();
        let gradients = gradients.map(|(path, gradient)| (path, values(gradient)));
        gradients.collect::<BTreeMap<String, Vec<f32>>>()
    };
    let (mut all, decoder) = (gradients(true), gradients(false));
    all.retain(|path, _| path.starts_with("decoder."));
    assert!(!all.is_empty());
    assert_eq!(decoder, all);
}

#[test]
fn twenty_steps_equal_torch() {
    let bytes = std::fs::read(file("replay.safetensors")).unwrap();
    let replay = SafeTensors::deserialize(&bytes).unwrap();
    for recomputation in [Recomputation::None, Recomputation::Blocks] {
        let mut trainer = trainer(recomputation, config());
        for (index, expected) in expected().steps.iter().enumerate() {
            let report = trainer
                .micro_step(batch::<Flex>(&replay, index, &FlexDevice))
                .unwrap()
                .unwrap();
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
        let last = loaded::<Flex>(
            "transformer",
            &file("last_weights.safetensors"),
            &FlexDevice,
        );
        let expected = ParameterMap::of_module(last.transformer());
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
        whole
            .micro_step(batch::<Flex>(&replay, index, &FlexDevice))
            .unwrap();
    }
    let (state, note) = TrainingState::load(&path, &FlexDevice).unwrap();
    assert_eq!((state.steps(), note["data"].as_u64()), (2, Some(7)));
    let mut resumed = trainer(Recomputation::None, config);
    resumed.restore(state).unwrap();
    assert_eq!(resumed.batches(), 7);
    for index in 7..18 {
        resumed
            .micro_step(batch::<Flex>(&replay, index, &FlexDevice))
            .unwrap();
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
fn the_state_of_a_step_of_more_batches_is_refused() {
    let bytes = std::fs::read(file("replay.safetensors")).unwrap();
    let replay = SafeTensors::deserialize(&bytes).unwrap();
    let of = |accumulation| TrainerConfig {
        accumulation,
        ..config()
    };
    let mut three = trainer(Recomputation::None, of(3));
    for index in 0..2 {
        let batch = batch::<Flex>(&replay, index, &FlexDevice);
        three.micro_step(batch).unwrap();
    }
    let mut two = trainer(Recomputation::None, of(2));
    let error = two.restore(three.state()).unwrap_err();
    assert!(error.to_string().contains("2 batches"), "{error}");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let refuse = |change: fn(&mut TrainerConfig), name: &str| {
        let mut config = config();
        change(&mut config);
        let error = config.validate().unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    };
    refuse(|c| c.learning_rate.peak = f64::NAN, "learning_rate.peak");
    refuse(|c| c.learning_rate.peak = -1.0, "learning_rate");
    refuse(
        |c| {
            c.optimizer = OptimizerConfig::AdamW8bit(AdamWConfig {
                betas: [0.9, 1.0],
                ..AdamWConfig::default()
            });
        },
        "optimizer.betas",
    );
    refuse(
        |c| {
            c.optimizer = OptimizerConfig::Adafactor(AdafactorConfig {
                decay_rate: 0.8,
                ..AdafactorConfig::default()
            });
        },
        "optimizer.decay_rate",
    );
    refuse(|c| c.max_grad_norm = Some(0.0), "max_grad_norm");
    refuse(|c| c.ema_decay = Some(1.0), "ema_decay");
    refuse(
        |c| {
            c.optimizer = OptimizerConfig::AdamW(AdamWConfig {
                weight_decay: -1.0,
                ..AdamWConfig::default()
            });
        },
        "optimizer.weight_decay",
    );
    refuse(|c| c.total_steps = 0, "total_steps");
    refuse(|c| c.accumulation = 0, "accumulation");
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
        let mut batch = batch::<Flex>(&replay, 0, &FlexDevice);
        batch.latents = batch.latents * f32::INFINITY;
        batch
    };
    let before = ParameterMap::of_module(trainer.models());
    assert!(trainer.micro_step(broken()).unwrap().unwrap().skipped);
    let after = ParameterMap::of_module(trainer.models());
    assert_eq!(worst(&after, &before).1, 0.0);
    assert!(
        !trainer
            .micro_step(batch::<Flex>(&replay, 1, &FlexDevice))
            .unwrap()
            .unwrap()
            .skipped
    );
    assert!(trainer.micro_step(broken()).unwrap().unwrap().skipped);
    let error = trainer.micro_step(broken()).unwrap_err();
    assert!(error.to_string().contains("diverged"), "{error}");
    assert_eq!((trainer.steps(), trainer.skipped_steps()), (4, 3));
}
