//! The parts that carry the cost, at the middle size on flex: `cargo bench -p ovis-image-benches`.
//! Weights are random: time does not depend on their values.

#![allow(missing_docs, reason = "criterion's macros")]

use burn::tensor::{DType, Distribution, Tensor};
use burn_flex::{Flex, FlexDevice};
use criterion::{Criterion, criterion_group, criterion_main};
use ovis_image::transformer::{JointHiddenStates, TransformerInput};
use ovis_image_benches::{full_vae, middle_transformer};

const TEXT_TOKENS: usize = 256;
/// 256x256 pixels.
const GRID: [usize; 2] = [16, 16];

fn random<const D: usize>(shape: [usize; D]) -> Tensor<Flex, D> {
    Tensor::random(
        shape,
        Distribution::Normal(0.0, 1.0),
        (&FlexDevice, DType::F32),
    )
}

fn transformer(criterion: &mut Criterion) {
    let config = middle_transformer();
    let model = config.init::<Flex>(&FlexDevice);
    let rope = model.rope(TEXT_TOKENS, GRID, &FlexDevice);
    let hidden = config.hidden_size();
    let image_tokens = GRID[0] * GRID[1];
    let conditioning = model.conditioning(&[0.5]);

    let streams = JointHiddenStates {
        image: random([1, image_tokens, hidden]),
        text: random([1, TEXT_TOKENS, hidden]),
    };
    criterion.bench_function("double block, 512 tokens", |bencher| {
        bencher
            .iter(|| model.double_blocks[0].forward(streams.clone(), conditioning.clone(), &rope));
    });
    let joint = random([1, TEXT_TOKENS + image_tokens, hidden]);
    criterion.bench_function("single block, 512 tokens", |bencher| {
        bencher.iter(|| model.single_blocks[0].forward(joint.clone(), conditioning.clone(), &rope));
    });
    let input = TransformerInput {
        latents: random([1, image_tokens, config.in_channels]),
        prompt_embeds: random([1, TEXT_TOKENS, config.joint_attention_dim]),
        timesteps: &[0.5],
        rope: &rope,
    };
    criterion.bench_function("forward at 256x256", |bencher| {
        bencher.iter(|| model.forward(input.clone()));
    });
}

fn vae(criterion: &mut Criterion) {
    let vae = full_vae().init::<Flex>(&FlexDevice);
    let latents = random([1, 16, 32, 32]);
    criterion.bench_function("VAE decode to 256x256", |bencher| {
        bencher.iter(|| vae.decode(latents.clone()));
    });
}

criterion_group! {
    name = models;
    config = Criterion::default().sample_size(10);
    targets = transformer, vae
}
criterion_main!(models);
