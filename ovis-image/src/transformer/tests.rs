//! Tests of the blocks and the whole model with random weights. The parts of a forward are also
//! compared with the forward on flex, whose kernels run in practice.

use burn::module::Param;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::*;
use crate::config::TransformerConfig;
use crate::layers::LinearLayer;
use crate::ops::RotaryTable;
use crate::testing::{TestBackend, assert_close, random, randomized, values};

const TEXT_TOKENS: usize = 5;
const GRID: [usize; 2] = [2, 3];
const IMAGE_TOKENS: usize = GRID[0] * GRID[1];
const TIMESTEPS: [f32; 2] = [0.8, 0.3];

fn model<B: Backend>() -> OvisImageTransformer<B> {
    randomized(TransformerConfig::tiny().init(&B::Device::default()), 1)
}

fn rope<B: Backend>(model: &OvisImageTransformer<B>) -> RotaryTable<B> {
    model.rope(TEXT_TOKENS, GRID, &B::Device::default())
}

/// Creates an input from two batch items or from one of them.
fn input<'a, B: Backend>(
    rope: &'a RotaryTable<B>,
    items: std::ops::Range<usize>,
) -> TransformerInput<'a, B> {
    let config = TransformerConfig::tiny();
    let part = |tensor: Tensor<B, 3>| tensor.narrow(0, items.start, items.len());
    TransformerInput {
        latents: part(random(2, [2, IMAGE_TOKENS, config.in_channels])),
        prompt_embeds: part(random(3, [2, TEXT_TOKENS, config.joint_attention_dim])),
        rope,
    }
}

fn streams<B: Backend>() -> JointHiddenStates<B> {
    let hidden = TransformerConfig::tiny().hidden_size();
    JointHiddenStates {
        image: random(4, [2, IMAGE_TOKENS, hidden]),
        text: random(5, [2, TEXT_TOKENS, hidden]),
    }
}

fn conditioning<B: Backend>() -> Tensor<B, 2> {
    random(6, [2, TransformerConfig::tiny().hidden_size()])
}

/// Sets a modulation to produce zero shifts, scales and gates.
fn close<B: Backend>(modulation: &mut LinearLayer<B>) {
    modulation.weight = Param::from_tensor(modulation.weight.val().zeros_like());
    let bias = modulation.bias.as_ref().unwrap().val();
    modulation.bias = Some(Param::from_tensor(bias.zeros_like()));
}

#[test]
fn a_double_block_keeps_the_shape_of_both_streams() {
    let model = model::<TestBackend>();
    let out = model.double_blocks[0].forward(streams(), conditioning(), &rope(&model));
    assert_eq!(out.image.dims(), streams::<TestBackend>().image.dims());
    assert_eq!(out.text.dims(), streams::<TestBackend>().text.dims());
    // Each stream depends on the other.
    let mut other = streams();
    other.text = other.text * 2.0;
    let image = model.double_blocks[0].forward(other, conditioning(), &rope(&model));
    assert_ne!(values(image.image), values(out.image));
}

#[test]
fn a_double_block_whose_gates_are_zero_is_the_identity() {
    let mut model = model::<TestBackend>();
    let rope = rope(&model);
    let block = &mut model.double_blocks[0];
    close(&mut block.image_modulation.linear);
    close(&mut block.text_modulation.linear);
    let out = block.forward(streams(), conditioning(), &rope);
    assert_close(out.image, streams().image, 0.0);
    assert_close(out.text, streams().text, 0.0);
}

#[test]
fn a_single_block_keeps_the_shape_and_with_a_gate_of_zero_the_values() {
    let mut model = model::<TestBackend>();
    let rope = rope(&model);
    let JointHiddenStates { image, text } = streams::<TestBackend>();
    let joint = Tensor::cat(vec![text, image], 1);
    let block = &mut model.single_blocks[0];
    let out = block.forward(joint.clone(), conditioning(), &rope);
    assert_eq!(out.dims(), joint.dims());
    assert_ne!(values(out), values(joint.clone()));
    close(&mut block.modulation.linear);
    assert_close(
        block.forward(joint.clone(), conditioning(), &rope),
        joint,
        0.0,
    );
}

#[test]
fn text_stands_at_its_index_and_patches_at_row_and_column() {
    let model = model::<TestBackend>();
    let table = rope(&model);
    let half = TransformerConfig::tiny().attention_head_dim / 2;
    assert_eq!(table.cos.dims(), [TEXT_TOKENS + IMAGE_TOKENS, half]);
    let row = |token: usize| values(table.sin.clone().narrow(0, token, 1));
    // Text token 1 is at (0, 1, 1), like the patch in row 1 and column 1.
    assert_eq!(row(1), row(TEXT_TOKENS + GRID[1] + 1));
    // The first axis is 0 for all tokens; token 0 and the first patch are at the origin.
    assert!(row(0).iter().all(|sine| *sine == 0.0));
    assert_eq!(row(0), row(TEXT_TOKENS));
    assert_ne!(row(2), row(TEXT_TOKENS + 2));
}

#[test]
fn a_forward_gives_the_same_values_again() {
    let (first, second) = (model::<TestBackend>(), model::<TestBackend>());
    let rope = rope(&first);
    let forward = |model: &OvisImageTransformer<TestBackend>| {
        values(model.forward(input(&rope, 0..2), &TIMESTEPS))
    };
    let prediction = forward(&first);
    assert!(prediction.iter().all(|value| value.is_finite()));
    assert_eq!(prediction, forward(&first));
    assert_eq!(prediction, forward(&second));
}

#[test]
fn an_item_alone_is_predicted_as_in_a_batch() {
    let model = model::<TestBackend>();
    let rope = rope(&model);
    let batch = model.forward(input(&rope, 0..2), &TIMESTEPS);
    let channels = TransformerConfig::tiny().output_channels();
    assert_eq!(batch.dims(), [2, IMAGE_TOKENS, channels]);
    for index in 0..2 {
        let alone = model.forward(input(&rope, index..index + 1), &TIMESTEPS[index..=index]);
        assert_close(alone, batch.clone().narrow(0, index, 1), 1e-6);
    }
}

#[test]
fn a_forward_can_begin_at_the_conditioning_or_at_the_modulation() {
    let model = model::<TestBackend>();
    let rope = rope(&model);
    let input = || input(&rope, 0..2);
    let expected = model.forward(input(), &TIMESTEPS);
    let conditioning = model.conditioning(&TIMESTEPS);
    let conditioned = model.forward_conditioned(input(), conditioning.clone());
    assert_close(conditioned, expected.clone(), 0.0);
    let modulation = model.modulation(conditioning.clone());
    let modulated = model.forward_modulated(input(), &modulation);
    assert_close(modulated, expected.clone(), 0.0);
    let copies = model.modulation_of_copies(conditioning);
    assert_close(model.forward_modulated(input(), &copies), expected, 0.0);

    // A single vector serves every item of a batch.
    let alike = model.forward(input(), &[TIMESTEPS[1]; 2]);
    let one = model.forward_modulated(input(), &modulation.item(1));
    assert_close(one, alike, 1e-6);
}

#[test]
fn every_linear_layer_is_listed_once() {
    let mut model = model::<TestBackend>();
    let (double, single) = (model.double_blocks.len(), model.single_blocks.len());
    let mut paths: Vec<String> = model
        .linear_layers_mut()
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    assert_eq!(paths.len(), 6 + 12 * double + 3 * single);
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), 6 + 12 * double + 3 * single);
}

/// Checks that the parts give the same prediction as the plain forward, on one backend.
fn staged_is_plain<B: Backend>() {
    let model = model::<B>();
    let rope = rope(&model);
    let input = input(&rope, 0..2);
    let modulation = model.modulation(model.conditioning(&TIMESTEPS));
    let plain = values(model.forward_modulated(input.clone(), &modulation));

    let staged = StagedForward::new(&model, &input, &modulation);
    assert_eq!(values(staged.run()), plain);
    let nothing = SkippedBlocks::default();
    assert_eq!(values(staged.skipping(Some(&nothing)).run()), plain);
    let first = staged.first_block(staged.embed());
    assert_eq!(values(staged.finish(staged.other_blocks(first))), plain);
}

/// Checks that leaving blocks out equals a model without them, on one backend.
fn skipping_is_a_model_without_the_blocks<B: Backend>() {
    let model = model::<B>();
    let rope = rope(&model);
    let input = input(&rope, 0..2);
    let modulation = model.modulation(model.conditioning(&TIMESTEPS));
    let plain = values(model.forward_modulated(input.clone(), &modulation));
    for (double, single) in [
        (vec![], vec![0]),
        (vec![0], vec![]),
        (vec![1], vec![1]),
        (vec![0, 1], vec![]),
        (vec![0, 1], vec![0, 1]),
    ] {
        let skipped = SkippedBlocks {
            double_blocks: double.clone(),
            single_blocks: single.clone(),
        };
        let staged = StagedForward::new(&model, &input, &modulation).skipping(Some(&skipped));
        let prediction = values(staged.run());
        assert_ne!(prediction, plain);

        let (mut smaller, mut modulation) = (model.clone(), modulation.clone());
        for block in double.iter().rev() {
            smaller.double_blocks.remove(*block);
            modulation.double_blocks.remove(*block);
        }
        for block in single.iter().rev() {
            smaller.single_blocks.remove(*block);
            modulation.single_blocks.remove(*block);
        }
        let expected = values(smaller.forward_modulated(input.clone(), &modulation));
        assert_eq!(prediction, expected, "{skipped:?}");
    }
}

#[test]
fn a_forward_in_parts_gives_the_same_bits() {
    staged_is_plain::<TestBackend>();
    #[cfg(feature = "flex")]
    staged_is_plain::<burn_flex::Flex>();
}

#[test]
fn leaving_blocks_out_gives_the_same_bits_as_a_model_without_them() {
    skipping_is_a_model_without_the_blocks::<TestBackend>();
    #[cfg(feature = "flex")]
    skipping_is_a_model_without_the_blocks::<burn_flex::Flex>();
}

#[test]
fn stages_are_reported_in_order() {
    #[derive(Default)]
    struct Stages(std::cell::RefCell<Vec<Stage>>);
    impl StageObserver for Stages {
        fn finished(&self, stage: Stage) {
            self.0.borrow_mut().push(stage);
        }
    }
    let model = model::<TestBackend>();
    let rope = rope(&model);
    let input = input(&rope, 0..2);
    let modulation = model.modulation(model.conditioning(&TIMESTEPS));
    let stages = Stages::default();
    let staged = StagedForward::new(&model, &input, &modulation).observed(Some(&stages));
    staged.run();
    let expected = [
        Stage::Embedding,
        Stage::DoubleBlocks,
        Stage::SingleBlocks,
        Stage::FinalLayer,
    ];
    assert_eq!(stages.0.into_inner(), expected);
}
