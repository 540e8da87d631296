//! Tests of training LoRAs against torch, diffusers and PEFT: gradients, steps, exports, and what
//! an adapter is refused for (`tests/reference/lora_training.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::backend::Autodiff;
use burn::tensor::{DType, Tensor};
use burn_flex::{Flex, FlexDevice};
use ovis_image::checkpoint::ExportOptions;
use ovis_image::error::LoraError;
use ovis_image::training::{
    AdamWConfig, FlowMatchingConfig, LearningRate, LoraAdapters, LoraConfig, LoraFlowMatching,
    Objective, OptimizerConfig, ParameterMap, Recomputation, Trainer, TrainerConfig, TrainingState,
};
use ovis_image::{
    Checkpoint, Layout, LoadOptions, LoraFile, OvisImageError, OvisImagePipeline, Quantization,
    Residency,
};
use ovis_image_tests::golden::golden_folder;
use ovis_image_tests::training::{batch, file, floats, worst};
use safetensors::SafeTensors;
use serde::Deserialize;

use crate::support::{pipeline, values, write_tensors};

type B = Autodiff<Flex>;

#[derive(Deserialize)]
struct ExpectedStep {
    step: u64,
    loss: f64,
    grad_norm: f64,
}

/// Recorded adapters: rank 4 on all modules; two ranks, two alphas and rank-stabilized scaling on
/// those of the attention.
const CASES: [(&str, &str); 2] = [
    ("all", "all/pytorch_lora_weights.safetensors"),
    ("attention", "attention/adapter_model.safetensors"),
];

fn start(name: &str) -> LoraAdapters<Flex> {
    let file = LoraFile::open(golden_folder().join("lora").join(name)).unwrap();
    LoraAdapters::read(&file, pipeline().transformer(), &FlexDevice).unwrap()
}

/// Recorded matrices, by the paths of [`LoraAdapters`].
fn recorded(name: &str) -> ParameterMap<Flex> {
    let bytes = std::fs::read(file(&format!("lora/{name}.safetensors"))).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |(name, view): (&str, safetensors::tensor::TensorView<'_>)| {
        let name = name.replace(".lora_A.weight", ".down");
        let name = name.replace(".lora_B.weight", ".up");
        let values = floats(view.data());
        let values = Tensor::from_data(values.as_slice(), (&FlexDevice, DType::F32));
        (name, values)
    };
    tensors.iter().map(tensor).collect()
}

fn objective(recomputation: Recomputation) -> LoraFlowMatching<Flex> {
    let config = FlowMatchingConfig {
        recomputation,
        ..FlowMatchingConfig::default()
    };
    LoraFlowMatching::new(config, pipeline().transformer().clone())
}

fn config() -> TrainerConfig {
    TrainerConfig {
        total_steps: 20,
        learning_rate: LearningRate::constant(1e-3),
        optimizer: OptimizerConfig::AdamW(AdamWConfig {
            betas: [0.9, 0.95],
            eps: 1e-8,
            weight_decay: 0.01,
        }),
        max_grad_norm: Some(1.0),
        ema_decay: Some(0.99),
        ..TrainerConfig::default()
    }
}

fn replay() -> Vec<u8> {
    std::fs::read(file("replay.safetensors")).unwrap()
}

#[test]
fn gradients_of_every_adapter_equal_peft() {
    let bytes = replay();
    let replay = SafeTensors::deserialize(&bytes).unwrap();
    for (name, path) in CASES {
        let adapters = start(path);
        let expected = recorded(&format!("{name}_first_gradients"));
        for recomputation in [Recomputation::None, Recomputation::Blocks] {
            let batch = batch::<Flex>(&replay, 0, &FlexDevice);
            let objective = objective(recomputation);
            let outcome = Objective::<B>::gradients(&objective, &adapters, batch).unwrap();
            assert_eq!(outcome.gradients.len(), expected.len(), "of adapters only");
            let (path, error) = worst(&outcome.gradients, &expected);
            assert!(error < 1e-5, "{name}, {recomputation:?}: {path}: {error:e}");
        }
    }
}

/// Gradients of the recorded adapters over a base that is loaded with options.
fn gradients_over(
    model: &Path,
    options: LoadOptions,
    recomputation: Recomputation,
) -> Vec<ParameterMap<Flex>> {
    let bytes = replay();
    let replay = SafeTensors::deserialize(&bytes).unwrap();
    let base = OvisImagePipeline::<Flex>::from_pretrained(model, options, &FlexDevice).unwrap();
    let config = FlowMatchingConfig {
        recomputation,
        ..FlowMatchingConfig::default()
    };
    let objective = LoraFlowMatching::new(config, base.transformer().clone());
    let gradients = |(_, path): (&str, &str)| {
        let batch = batch::<Flex>(&replay, 0, &FlexDevice);
        let outcome = Objective::<B>::gradients(&objective, &start(path), batch);
        outcome.unwrap().gradients
    };
    let found = CASES.map(gradients).to_vec();
    // The base gives back what it reads.
    for block in &objective.base().double_blocks {
        let weight = &block.image_attention.qkv.weight;
        let before = &base.transformer().double_blocks[0]
            .image_attention
            .qkv
            .weight;
        assert_eq!(weight.is_initialized(), before.is_initialized());
    }
    found
}

fn compare(found: &[ParameterMap<Flex>], expected: &[ParameterMap<Flex>], what: &str) {
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len());
        let (path, error) = worst(found, expected);
        assert!(error < 1e-5, "{what}: {path}: {error:e}");
    }
}

#[test]
fn gradients_over_a_streamed_base_are_the_plain_ones() {
    let model = golden_folder().join("base/model");
    let expected = gradients_over(&model, LoadOptions::new(), Recomputation::None);
    for recomputation in [Recomputation::None, Recomputation::Blocks] {
        let options = LoadOptions::new()
            .with_streamed_blocks(4)
            .with_modulation_residency(Residency::File);
        let found = gradients_over(&model, options, recomputation);
        compare(&found, &expected, &format!("{recomputation:?}"));
    }
}

#[test]
fn gradients_over_a_quantized_base_are_those_over_its_values() {
    let model = golden_folder().join("base/model");
    let checkpoint = Checkpoint::open(&model).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for quantization in [Quantization::Q8_0, Quantization::Q4_0] {
        let quantized = folder.path().join(quantization.to_string());
        let export = ExportOptions::new(Layout::ComfyUi).with_quantization(quantization);
        checkpoint.export(&quantized, &export).unwrap();
        let values = LoadOptions::new().with_dequantize_on_load(true);
        let expected = gradients_over(&quantized, values, Recomputation::None);
        for recomputation in [Recomputation::None, Recomputation::Blocks] {
            let what = format!("{quantization}, {recomputation:?}");
            let found = gradients_over(&quantized, LoadOptions::new(), recomputation);
            compare(&found, &expected, &what);
            let on_load = LoadOptions::new().with_quantization(quantization);
            let found = gradients_over(&model, on_load, recomputation);
            compare(&found, &expected, &what);
        }
    }
}

#[test]
fn twenty_steps_of_adapters_equal_peft() {
    let text = std::fs::read(file("lora/expected.json")).unwrap();
    let expected: BTreeMap<String, Vec<ExpectedStep>> = serde_json::from_slice(&text).unwrap();
    let bytes = replay();
    let replay = SafeTensors::deserialize(&bytes).unwrap();
    for (name, path) in CASES {
        for recomputation in [Recomputation::None, Recomputation::Blocks] {
            let objective = objective(recomputation);
            let base = ParameterMap::of_module(objective.base());
            let mut trainer: Trainer<B, _> =
                Trainer::new(objective, start(path), config()).unwrap();
            for (index, expected) in expected[name].iter().enumerate() {
                let batch = batch::<Flex>(&replay, index, &FlexDevice);
                let report = trainer.micro_step(batch).unwrap().unwrap();
                assert_eq!(report.step, expected.step);
                for (value, found, expected) in [
                    ("loss", report.terms.loss(), expected.loss),
                    ("norm", report.grad_norm, expected.grad_norm),
                ] {
                    let error = (found - expected).abs() / expected;
                    let step = report.step;
                    assert!(error < 1e-5, "{name}, step {step}: {value}: {error:e}");
                }
            }
            let found = ParameterMap::of_module(trainer.models());
            let expected = recorded(&format!("{name}_last_weights"));
            assert_eq!(found.len(), expected.len());
            let (path, error) = worst(&found, &expected);
            assert!(error < 1e-4, "{name}: {path}: {error:e}");
            let frozen = ParameterMap::of_module(trainer.objective().base());
            assert_eq!(worst(&frozen, &base).1, 0.0, "the base is frozen");
        }
    }
}

#[test]
fn a_resumed_run_of_adapters_equals_one_that_was_not_stopped() {
    let bytes = replay();
    let replay = SafeTensors::deserialize(&bytes).unwrap();
    let config = TrainerConfig {
        accumulation: 2,
        ..config()
    };
    let trainer = || -> Trainer<B, _> {
        let path = CASES[1].1;
        Trainer::new(
            objective(Recomputation::Blocks),
            start(path),
            config.clone(),
        )
        .unwrap()
    };
    let mut whole = trainer();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    let step = |trainer: &mut Trainer<B, _>, index| {
        let batch = batch::<Flex>(&replay, index, &FlexDevice);
        trainer.micro_step(batch).unwrap();
    };
    for index in 0..8 {
        if index == 5 {
            whole.state().save(&path, &serde_json::Value::Null).unwrap();
        }
        step(&mut whole, index);
    }
    let (state, _) = TrainingState::load(&path, &FlexDevice).unwrap();
    let mut resumed = trainer();
    resumed.restore(state.clone()).unwrap();
    for index in 5..8 {
        step(&mut resumed, index);
    }
    let bits = |map: &ParameterMap<Flex>| -> Vec<(String, Vec<u32>)> {
        let bits = |tensor: &Tensor<Flex, 1>| {
            values(tensor.clone())
                .into_iter()
                .map(f32::to_bits)
                .collect()
        };
        map.iter()
            .map(|(path, tensor)| (path.to_owned(), bits(tensor)))
            .collect()
    };
    let (whole, resumed) = (whole.state(), resumed.state());
    assert!(bits(whole.parameters()) == bits(resumed.parameters()));
    assert!(bits(whole.average().unwrap()) == bits(resumed.average().unwrap()));

    let other = start(CASES[0].1);
    let mut other: Trainer<B, _> =
        Trainer::new(objective(Recomputation::None), other, config.clone()).unwrap();
    let error = other.restore(state).unwrap_err().to_string();
    assert!(error.contains("another model"), "{error}");
}

#[test]
fn a_trained_adapter_acts_in_a_pipeline_as_in_training() {
    let bytes = replay();
    let replay = SafeTensors::deserialize(&bytes).unwrap();
    let mut trainer: Trainer<B, _> =
        Trainer::new(objective(Recomputation::None), start(CASES[0].1), config()).unwrap();
    trainer
        .micro_step(batch::<Flex>(&replay, 0, &FlexDevice))
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    trainer.models().save(&path, &BTreeMap::new()).unwrap();
    let mut loaded = pipeline();
    let lora = LoraFile::open(&path).unwrap();
    let report = loaded.load_lora("x", &lora, 1.0).unwrap();
    assert_eq!(
        (report.applied, report.unmatched.len()),
        (report.modules, 0)
    );
    let adapted = trainer.objective().adapted(trainer.models()).unwrap();
    let all = |map: ParameterMap<Flex>| -> Vec<Vec<f32>> {
        map.into_iter().map(|(_, tensor)| values(tensor)).collect()
    };
    assert!(
        all(ParameterMap::of_module(&adapted))
            == all(ParameterMap::of_module(loaded.transformer()))
    );
}

/// Writes an adapter of one module with matrices of given shapes, and reads it as a start.
fn refused(module: &str, input: usize, output: usize) -> LoraError {
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("lora.safetensors");
    let shapes = [("lora_A", [2, input]), ("lora_B", [output, 2])];
    let tensors = shapes.map(|(matrix, shape)| {
        let name = format!("transformer.{module}.{matrix}.weight");
        (name, shape.to_vec(), vec![0.5; shape[0] * shape[1]])
    });
    write_tensors(&path, tensors);
    let lora = LoraFile::open(&path).unwrap();
    match LoraAdapters::<Flex>::read(&lora, pipeline().transformer(), &FlexDevice).unwrap_err() {
        OvisImageError::Lora(error) => error,
        other => panic!("{other}"),
    }
}

#[test]
fn an_adapter_of_another_model_is_refused_as_a_start() {
    let shape = refused("transformer_blocks.0.attn.to_q", 3072, 3072);
    assert!(matches!(shape, LoraError::Shape { .. }), "{shape}");
    let none = refused("down_blocks.0.attentions.0.to_q", 32, 32);
    assert!(matches!(none, LoraError::NotApplied { .. }), "{none}");
}

#[test]
fn an_adapter_of_fused_modules_is_refused_as_a_start() {
    let lora = LoraFile::open(golden_folder().join("lora/fused.safetensors")).unwrap();
    let error = LoraAdapters::<Flex>::read(&lora, pipeline().transformer(), &FlexDevice);
    let error = error.unwrap_err();
    assert!(
        matches!(error, OvisImageError::Lora(LoraError::NotTrainable { .. })),
        "{error}"
    );
}

#[test]
fn new_adapters_change_nothing_until_they_are_trained() {
    let bytes = replay();
    let replay = SafeTensors::deserialize(&bytes).unwrap();
    let objective = objective(Recomputation::Blocks);
    let first = LoraAdapters::new(&LoraConfig::default(), objective.base(), 1, &FlexDevice);
    let first = first.unwrap();
    let with = Objective::<B>::loss(&objective, &first, batch(&replay, 0, &FlexDevice)).unwrap();
    let half = Objective::<B>::gradients(&objective, &first, batch(&replay, 0, &FlexDevice));
    let moved = half.unwrap().gradients;
    for (path, gradient) in moved.iter() {
        let zero = values(gradient.clone()).iter().all(|value| *value == 0.0);
        assert_eq!(zero, path.ends_with(".down"), "{path}");
    }
    let mut trainer: Trainer<B, _> = Trainer::new(objective, first, config()).unwrap();
    trainer.micro_step(batch(&replay, 0, &FlexDevice)).unwrap();
    let trained = trainer.models();
    let after = Objective::<B>::loss(trainer.objective(), trained, batch(&replay, 0, &FlexDevice));
    assert!(after.unwrap().loss() < with.loss());
}
