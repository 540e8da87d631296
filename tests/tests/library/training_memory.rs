//! Tests of updates in the backward pass, and of bf16 weights without f32 copies.

use burn::backend::Autodiff;
use burn::tensor::{DType, Int, Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use ovis_image::text_encoder::PREFIX_TOKENS;
use ovis_image::training::{
    AdafactorConfig, AdamWConfig, CharacterHead, CharacterHeadConfig, FlowMatching,
    FlowMatchingConfig, ImageBatch, ImageModels, LearningRate, MasterWeights, OptimizerConfig,
    ParameterMap, PromptBatch, Recomputation, Trainer, TrainerConfig, TrainingState, UpdateTime,
};
use ovis_image::{LoadOptions, OvisImagePipeline, WeightDtype};
use ovis_image_tests::training::{batch, file};
use safetensors::{Dtype, SafeTensors};

use crate::support::{base_model, pipeline, values};

type FlowTrainer = Trainer<Autodiff<Flex>, FlowMatching>;

const HEAD: CharacterHeadConfig = CharacterHeadConfig {
    cells: 4,
    classes: 5,
};

fn config() -> TrainerConfig {
    TrainerConfig {
        total_steps: 6,
        learning_rate: LearningRate::constant(1e-3),
        max_grad_norm: None,
        ema_decay: Some(0.9),
        ..TrainerConfig::default()
    }
}

fn objective(recomputation: Recomputation) -> FlowMatching {
    FlowMatching::new(FlowMatchingConfig {
        recomputation,
        auxiliary_weight: 0.3,
        ..FlowMatchingConfig::default()
    })
}

fn transformer_alone(pipeline: &OvisImagePipeline<Flex>) -> ImageModels<Flex> {
    ImageModels {
        transformer: pipeline.transformer().clone(),
        text_encoder: None,
        auxiliary: None,
    }
}

fn in_bf16() -> ImageModels<Flex> {
    let options = LoadOptions::new().with_dtype(WeightDtype::BF16);
    let pipeline = OvisImagePipeline::from_pretrained(base_model(), options, &FlexDevice);
    transformer_alone(&pipeline.unwrap())
}

fn recorded(step: usize) -> ImageBatch<Flex> {
    let bytes = std::fs::read(file("replay.safetensors")).unwrap();
    let replay = SafeTensors::deserialize(&bytes).unwrap();
    batch::<Flex>(&replay, step, &FlexDevice)
}

/// Recorded batch with prompts and characters in the place of embeddings.
fn with_prompts(step: usize) -> ImageBatch<Flex> {
    let mut batch = recorded(step);
    let ([images, tokens, _], text) = (batch.latents.dims(), 6);
    let integers = |dims: [usize; 2], most: i64| {
        let values = (0..(dims[0] * dims[1]) as i64).map(|index| index * 7 % most);
        let values: Vec<i64> = values.collect();
        Tensor::<Flex, 2, Int>::from_data(TensorData::new(values, dims), &FlexDevice)
    };
    batch.prompts = PromptBatch::Tokens {
        input_ids: integers([images, PREFIX_TOKENS + text], 50),
        real: Tensor::ones([images, text, 1], (&FlexDevice, DType::F32)),
    };
    batch.characters = Some(integers([images, tokens * HEAD.cells], HEAD.classes as i64));
    batch
}

fn bits(map: &ParameterMap<Flex>) -> Vec<(String, Vec<u32>)> {
    let tensors = map.iter();
    tensors
        .map(|(path, tensor)| {
            let values = values(tensor.clone()).into_iter();
            (path.to_owned(), values.map(f32::to_bits).collect())
        })
        .collect()
}

fn run(
    models: ImageModels<Flex>,
    recomputation: Recomputation,
    config: TrainerConfig,
    batches: impl IntoIterator<Item = ImageBatch<Flex>>,
) -> FlowTrainer {
    let mut trainer = Trainer::new(objective(recomputation), models, config).unwrap();
    for batch in batches {
        assert!(!trainer.micro_step(batch).unwrap().unwrap().skipped);
    }
    trainer
}

fn assert_equal(found: &FlowTrainer, expected: &FlowTrainer, case: &str) {
    let (found, expected) = (found.state(), expected.state());
    assert!(
        bits(found.parameters()) == bits(expected.parameters()),
        "{case}: parameters"
    );
    let average = |state: &TrainingState<Flex>| bits(state.average().unwrap());
    assert!(average(&found) == average(&expected), "{case}: averages");
}

fn during_backward(config: &TrainerConfig) -> TrainerConfig {
    TrainerConfig {
        update_time: UpdateTime::DuringBackward,
        ..config.clone()
    }
}

#[test]
fn updates_during_the_backward_pass_equal_those_after_it_to_the_bit() {
    let optimizers = [
        OptimizerConfig::default(),
        OptimizerConfig::AdamW8bit(AdamWConfig::default()),
        OptimizerConfig::Adafactor(AdafactorConfig::default()),
    ];
    for optimizer in optimizers {
        for recomputation in [Recomputation::None, Recomputation::Blocks] {
            let config = TrainerConfig {
                optimizer,
                ..config()
            };
            let run = |config| {
                let models = transformer_alone(&pipeline());
                run(models, recomputation, config, (0..3).map(recorded))
            };
            let (after, during) = (run(config.clone()), run(during_backward(&config)));
            assert_equal(
                &during,
                &after,
                &format!("{optimizer:?}, {recomputation:?}"),
            );
        }
    }
}

#[test]
fn every_part_of_the_models_is_updated_during_the_backward_pass() {
    let pipeline = pipeline();
    let hidden = pipeline.transformer().config().hidden_size();
    let models = ImageModels {
        text_encoder: Some(pipeline.text_encoder().clone()),
        auxiliary: Some(CharacterHead::new(&HEAD, hidden, &FlexDevice).unwrap()),
        ..transformer_alone(&pipeline)
    };
    // The head is lazy and random: its values are those of the first use.
    let first = ParameterMap::of_module(&models);
    let run = |config| {
        let batches = (0..2).map(with_prompts);
        run(models.clone(), Recomputation::Blocks, config, batches)
    };
    let (after, during) = (run(config()), run(during_backward(&config())));
    assert_equal(&during, &after, "all parts");
    let changed = bits(during.state().parameters());
    for part in ["transformer.", "text_encoder.", "auxiliary."] {
        let first = bits(&first).into_iter();
        let first: Vec<_> = first.filter(|(path, _)| path.starts_with(part)).collect();
        assert!(!first.is_empty());
        assert!(
            first.iter().any(|values| !changed.contains(values)),
            "{part}"
        );
    }
}

#[test]
fn gradients_that_are_not_finite_update_nothing_during_the_backward_pass() {
    let models = transformer_alone(&pipeline());
    let config = during_backward(&config());
    let mut trainer = run(models, Recomputation::Blocks, config, [recorded(0)]);
    let before = bits(trainer.state().parameters());
    let mut broken = recorded(1);
    broken.latents = broken.latents * f32::INFINITY;
    let report = trainer.micro_step(broken).unwrap().unwrap();
    assert!(report.skipped && !report.grad_norm.is_finite());
    assert_eq!((trainer.steps(), trainer.skipped_steps()), (2, 1));
    assert!(before == bits(trainer.state().parameters()));
    let mut wrong = recorded(1);
    wrong.grid = [1, 1];
    trainer.micro_step(wrong).unwrap_err();
    assert!(before == bits(trainer.state().parameters()));
    // Neither counts as a step of the optimizer.
    let report = trainer.micro_step(recorded(1)).unwrap().unwrap();
    assert!(!report.skipped);
    let models = transformer_alone(&pipeline());
    let config = during_backward(&self::config());
    let whole = run(models, Recomputation::Blocks, config, (0..2).map(recorded));
    assert_equal(&trainer, &whole, "after a skipped step");
}

#[test]
fn what_needs_all_gradients_is_refused_during_the_backward_pass() {
    let refuse = |change: fn(&mut TrainerConfig), name: &str| {
        let mut config = during_backward(&config());
        change(&mut config);
        let error = config.validate().unwrap_err().to_string();
        assert!(
            error.contains(name) && error.contains("update_time"),
            "{error}"
        );
    };
    refuse(|c| c.max_grad_norm = Some(1.0), "max_grad_norm");
    refuse(|c| c.spike_factor = Some(9.0), "spike_factor");
    refuse(|c| c.accumulation = 2, "accumulation");
}

fn rounded(seed: u64) -> TrainerConfig {
    TrainerConfig {
        master_weights: MasterWeights::StochasticRounding { seed },
        ..config()
    }
}

#[test]
fn a_run_without_f32_copies_resumes_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    for update_time in [UpdateTime::AfterBackward, UpdateTime::DuringBackward] {
        let config = TrainerConfig {
            optimizer: OptimizerConfig::AdamW8bit(AdamWConfig::default()),
            update_time,
            ..rounded(5)
        };
        let first = (0..2).map(recorded);
        let mut whole = run(in_bf16(), Recomputation::Blocks, config.clone(), first);
        let state = whole.state();
        state.save(&path, &serde_json::Value::Null).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        for (name, view) in tensors.iter() {
            let is_bf16 = view.dtype() == Dtype::BF16;
            assert_eq!(is_bf16, name.starts_with("parameters/"), "{name}");
        }
        let (state, _) = TrainingState::load(&path, &FlexDevice).unwrap();
        let mut resumed = run(in_bf16(), Recomputation::Blocks, config, []);
        resumed.restore(state).unwrap();
        for step in 2..5 {
            for trainer in [&mut whole, &mut resumed] {
                trainer.micro_step(recorded(step)).unwrap();
            }
        }
        assert_equal(&resumed, &whole, "resumed");
    }
}
