//! Tests of optimizers against bitsandbytes and transformers (`tests/reference/optimizers.py`), and
//! of their states.

use std::collections::BTreeMap;
use std::path::Path;

use burn::backend::Autodiff;
use burn::module::{Module, Param};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use ovis_image::OvisImageError;
use ovis_image::error::StateError;
use ovis_image::ops::DynamicMap;
use ovis_image::training::{
    AdafactorConfig, AdamWConfig, LearningRate, LossTerms, MasterWeights, Objective,
    OptimizerConfig, Outcome, ParameterMap, Trainer, TrainerConfig, TrainingState,
};
use ovis_image_tests::compare::relative_error;
use ovis_image_tests::training::{file, floats};
use safetensors::SafeTensors;

use crate::support::values;

const STEPS: usize = 4;

/// Recorded parameters of one optimizer.
#[derive(Module, Debug)]
struct Parameters<B: Backend> {
    matrix: Param<Tensor<B, 2>>,
    vector: Param<Tensor<B, 1>>,
    small: Option<Param<Tensor<B, 2>>>,
    kernel: Option<Param<Tensor<B, 4>>>,
}

/// Objective whose batches are gradients.
struct Recorded;

impl<A: AutodiffBackend> Objective<A> for Recorded {
    type Models = Parameters<A::InnerBackend>;
    type Batch = ParameterMap<A::InnerBackend>;

    fn gradients(
        &self,
        _models: &Self::Models,
        gradients: Self::Batch,
    ) -> Result<Outcome<A::InnerBackend>, OvisImageError> {
        Ok(Outcome {
            terms: LossTerms::new([(LossTerms::LOSS, 1.0)]),
            gradients,
        })
    }

    fn loss(&self, _: &Self::Models, _: Self::Batch) -> Result<LossTerms, OvisImageError> {
        Ok(LossTerms::default())
    }
}

type RecordedTrainer = Trainer<Autodiff<Flex>, Recorded>;

/// Recorded run of an optimizer.
struct Run<'a> {
    tensors: SafeTensors<'a>,
    name: &'static str,
}

impl Run<'_> {
    fn tensor<const D: usize>(&self, name: &str) -> Option<Tensor<Flex, D>> {
        let view = self.tensors.tensor(&format!("{}.{name}", self.name));
        let view = view.ok()?;
        let data = TensorData::new(floats(view.data()), view.shape().to_vec());
        Some(Tensor::from_data(data, (&FlexDevice, DType::F32)))
    }

    fn parameters(&self) -> Parameters<Flex> {
        Parameters {
            matrix: Param::from_tensor(self.tensor("matrix.start").unwrap()),
            vector: Param::from_tensor(self.tensor("vector.start").unwrap()),
            small: self.tensor("small.start").map(Param::from_tensor),
            kernel: self.tensor("kernel.start").map(Param::from_tensor),
        }
    }

    fn trainer(&self, optimizer: OptimizerConfig) -> RecordedTrainer {
        let config = TrainerConfig {
            total_steps: STEPS as u64,
            learning_rate: LearningRate::constant(1e-2),
            optimizer,
            max_grad_norm: None,
            ema_decay: Some(0.9),
            ..TrainerConfig::default()
        };
        Trainer::new(Recorded, self.parameters(), config).unwrap()
    }

    /// Names of the parameters.
    fn names(&self) -> Vec<&'static str> {
        let all = ["matrix", "vector", "small", "kernel"];
        let has = |name: &&str| {
            let name = format!("{}.{name}.start", self.name);
            self.tensors.tensor(&name).is_ok()
        };
        all.into_iter().filter(has).collect()
    }

    fn values(&self, name: &str) -> Vec<f32> {
        let name = format!("{}.{name}", self.name);
        floats(self.tensors.tensor(&name).unwrap().data())
    }

    fn gradients(&self, step: usize) -> ParameterMap<Flex> {
        let gradient = |name: &str| {
            let values = self.values(&format!("{name}.{step}.gradient"));
            let gradient = Tensor::from_data(&values[..], (&FlexDevice, DType::F32));
            (name.to_owned(), gradient)
        };
        self.names().into_iter().map(gradient).collect()
    }

    fn take(&self, trainer: &mut RecordedTrainer, step: usize) {
        let report = trainer.micro_step(self.gradients(step)).unwrap().unwrap();
        assert!(!report.skipped);
    }
}

fn recorded() -> Vec<u8> {
    std::fs::read(file("optimizers.safetensors")).unwrap()
}

fn run<'a>(bytes: &'a [u8], name: &'static str) -> Run<'a> {
    let tensors = SafeTensors::deserialize(bytes).unwrap();
    Run { tensors, name }
}

/// Tensors of a saved state, as bytes.
fn saved(trainer: &RecordedTrainer, path: &Path) -> BTreeMap<String, Vec<u8>> {
    let state = trainer.state();
    state.save(path, &serde_json::Value::Null).unwrap();
    let bytes = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = tensors.iter();
    tensors
        .map(|(name, view)| (name.to_owned(), view.data().to_vec()))
        .collect()
}

fn adamw_8bit() -> OptimizerConfig {
    OptimizerConfig::AdamW8bit(AdamWConfig {
        betas: [0.9, 0.95],
        eps: 1e-8,
        weight_decay: 0.1,
    })
}

fn adafactor(scale_parameter: bool) -> OptimizerConfig {
    OptimizerConfig::Adafactor(AdafactorConfig {
        scale_parameter,
        weight_decay: 0.1,
        ..AdafactorConfig::default()
    })
}

#[test]
fn the_maps_of_8_bit_codes_equal_those_of_bitsandbytes() {
    let bytes = recorded();
    let run = run(&bytes, "map");
    for (name, map) in [
        ("signed", DynamicMap::Signed),
        ("unsigned", DynamicMap::Unsigned),
    ] {
        for (found, expected) in map.numbers().iter().zip(run.values(name)) {
            // Each is rounded a few times, in torch by another order of operations.
            let error = (found - expected).abs();
            assert!(
                error <= 2.0 * f32::EPSILON * expected.abs(),
                "{found}: {expected}"
            );
        }
    }
}

#[test]
fn steps_with_moments_in_8_bits_equal_bitsandbytes() {
    let (bytes, folder) = (recorded(), tempfile::tempdir().unwrap());
    let run = run(&bytes, "adamw8bit");
    let mut trainer = run.trainer(adamw_8bit());
    let mut moved = BTreeMap::<&str, Vec<usize>>::new();
    for step in 0..STEPS {
        run.take(&mut trainer, step);
        let state = saved(&trainer, &folder.path().join("state.safetensors"));
        for name in run.names() {
            let expected = run.values(&format!("{name}.{step}.parameter"));
            let moved = moved.entry(name).or_default();
            let found = floats(&state[&format!("parameters/{name}")]);
            for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                // A step rounds the parameter and its update a few times.
                let limit = 4.0 * (step + 1) as f32 * f32::EPSILON * expected.abs().max(1.0);
                let error = (found - expected).abs();
                assert!(
                    error <= limit || moved.contains(&index),
                    "{name} {index}, step {step}: {found}, not {expected}"
                );
            }
            for (ours, theirs) in [("first_codes", "state1"), ("second_codes", "state2")] {
                let Some(codes) = state.get(&format!("{ours}/{name}")) else {
                    // Small parameters have moments in f32.
                    assert_eq!(name, "small");
                    continue;
                };
                let view = format!("adamw8bit.{name}.{step}.{theirs}");
                let expected = run.tensors.tensor(&view).unwrap();
                let pairs = codes.iter().zip(expected.data()).enumerate();
                for (index, (found, expected)) in pairs.filter(|(_, (a, b))| a != b) {
                    // The value was at the middle of two numbers, before it was rounded.
                    assert_eq!(found.abs_diff(*expected), 1, "{ours} {name} {index}");
                    moved.push(index);
                }
            }
            // Rounding moves a value by 1e-7 of it, and middles are at least 4e-3 of it apart.
            assert!(
                moved.len() * 1000 <= expected.len(),
                "{name}: {}",
                moved.len()
            );
        }
    }
}

#[test]
fn steps_of_adafactor_equal_transformers() {
    let bytes = recorded();
    let folder = tempfile::tempdir().unwrap();
    for (name, scale_parameter) in [("scaled", true), ("plain", false)] {
        let run = run(&bytes, name);
        let mut trainer = run.trainer(adafactor(scale_parameter));
        for step in 0..STEPS {
            run.take(&mut trainer, step);
            let state = saved(&trainer, &folder.path().join("state.safetensors"));
            for name in run.names() {
                let mut pairs = vec![("parameters", "parameter")];
                if name == "vector" {
                    pairs.push(("squares", "exp_avg_sq"));
                } else {
                    pairs.push(("row_squares", "exp_avg_sq_row"));
                    pairs.push(("column_squares", "exp_avg_sq_col"));
                }
                for (ours, theirs) in pairs {
                    let found = floats(&state[&format!("{ours}/{name}")]);
                    let expected = run.values(&format!("{name}.{step}.{theirs}"));
                    let error = relative_error(&found, &expected);
                    assert!(error < 1e-6, "{name}, {ours}, step {step}: {error:e}");
                }
            }
        }
    }
}

#[test]
fn every_optimizer_resumes_to_the_bit() {
    let bytes = recorded();
    let run = run(&bytes, "adamw8bit");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    for optimizer in [
        OptimizerConfig::default(),
        adamw_8bit(),
        adafactor(false),
        adafactor(true),
    ] {
        let mut whole = run.trainer(optimizer);
        for step in 0..2 {
            run.take(&mut whole, step);
        }
        saved(&whole, &path("middle"));
        let (state, _) = TrainingState::load(&path("middle"), &FlexDevice).unwrap();
        let mut resumed = run.trainer(optimizer);
        resumed.restore(state).unwrap();
        for step in 2..STEPS {
            run.take(&mut whole, step);
            run.take(&mut resumed, step);
        }
        let last = saved(&whole, &path("whole"));
        assert!(last == saved(&resumed, &path("resumed")), "{optimizer:?}");
        let averaged = whole.averaged_models().unwrap();
        let average = floats(&last["average/matrix"]);
        assert_eq!(values(averaged.matrix.val()), average);
    }
}

#[test]
fn the_size_of_a_state_is_known_before_it_is_made() {
    let bytes = recorded();
    let run = run(&bytes, "adamw8bit");
    let folder = tempfile::tempdir().unwrap();
    for optimizer in [OptimizerConfig::default(), adamw_8bit(), adafactor(false)] {
        let mut trainer = run.trainer(optimizer);
        let shapes = ovis_image::training::parameter_shapes(trainer.models());
        let expected: u64 = shapes
            .values()
            .map(|shape| optimizer.state_bytes(shape))
            .sum();
        run.take(&mut trainer, 0);
        let state = saved(&trainer, &folder.path().join("state.safetensors"));
        let moments = state
            .iter()
            .filter(|(name, _)| !name.starts_with("parameters/") && !name.starts_with("average/"));
        let bytes: usize = moments.map(|(_, bytes)| bytes.len()).sum();
        assert_eq!(bytes as u64, expected, "{optimizer:?}");
    }
}

#[test]
fn the_state_of_another_optimizer_is_refused() {
    let bytes = recorded();
    let run = run(&bytes, "adamw8bit");
    let mut before = run.trainer(adamw_8bit());
    run.take(&mut before, 0);
    for optimizer in [OptimizerConfig::default(), adafactor(false)] {
        let error = run.trainer(optimizer).restore(before.state()).unwrap_err();
        assert!(
            matches!(
                &error,
                OvisImageError::State(StateError::AnotherOptimizer { path }) if path == "matrix"
            ),
            "{error}"
        );
    }
}

#[test]
fn updates_below_the_distance_of_bf16_act_without_f32_copies() {
    const STEPS: usize = 50;
    const RATE: f64 = 1e-4;
    let ones = |count: usize| Tensor::<Flex, 1>::ones([count], (&FlexDevice, DType::BF16));
    let models = Parameters {
        matrix: Param::from_tensor(ones(4480).reshape([40, 112])),
        vector: Param::from_tensor(ones(4100)),
        small: None,
        kernel: None,
    };
    let run = |seed| {
        let config = TrainerConfig {
            total_steps: STEPS as u64,
            learning_rate: LearningRate::constant(RATE),
            optimizer: OptimizerConfig::AdamW8bit(AdamWConfig {
                weight_decay: 0.0,
                ..AdamWConfig::default()
            }),
            master_weights: MasterWeights::StochasticRounding { seed },
            max_grad_norm: None,
            ..TrainerConfig::default()
        };
        let mut trainer = RecordedTrainer::new(Recorded, models.clone(), config).unwrap();
        for _ in 0..STEPS {
            let gradient = |(name, count): (&str, usize)| {
                let gradient = Tensor::ones([count], (&FlexDevice, DType::F32));
                (name.to_owned(), gradient)
            };
            let gradients = [("matrix", 4480), ("vector", 4100)].map(gradient);
            trainer.micro_step(gradients.into_iter().collect()).unwrap();
        }
        assert_eq!(trainer.models().matrix.val().dtype(), DType::BF16);
        [
            values(trainer.models().matrix.val()),
            values(trainer.models().vector.val()),
        ]
    };
    let (one, other) = (run(1), run(2));
    assert!(one != other, "the seed decides how values are rounded");
    assert!(one[0][..4100] != one[1][..], "and so does the path");
    for values in one.into_iter().chain(other) {
        // With a constant gradient, AdamW moves by the learning rate.
        let expected = 1.0 - STEPS as f64 * RATE;
        let mean = values.iter().copied().map(f64::from).sum::<f64>() / values.len() as f64;
        // A step adds at most half the distance below 1, with mean zero.
        let deviation = 2f64.powi(-9) * (STEPS as f64 / values.len() as f64).sqrt();
        assert!(
            (mean - expected).abs() < 4.0 * deviation,
            "{mean}, not {expected}"
        );
    }
}
