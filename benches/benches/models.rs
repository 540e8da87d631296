//! Benchmarks of the expensive parts, on flex: `cargo bench -p ovis-image-benches`. Weights are
//! random, because time does not depend on their values. Criterion's `Gelem/s` are GFLOP/s; compare
//! them with the linear layer of the same size, which shows what the machine's matrix products
//! reach. `-- --instruction-set avx2` forces an instruction set.

#![allow(missing_docs, reason = "criterion's macros")]

use std::process::ExitCode;

use anyhow::Result;
use burn::tensor::{DType, Distribution, Tensor};
use burn_flex::{Flex, FlexDevice};
use criterion::{Criterion, Throughput, criterion_group};
use ovis_image::config::TransformerConfig;
use ovis_image::kernels;
use ovis_image::ops::AttentionMask;
use ovis_image::text_encoder::TextEncoder;
use ovis_image::transformer::{JointHiddenStates, OvisImageTransformer, TransformerInput};
use ovis_image_benches::{self as sizes, forced};

const TEXT_TOKENS: usize = 256;
/// Token grid of an image of 256x256 pixels.
const GRID: [usize; 2] = [16, 16];
const TOKENS: usize = TEXT_TOKENS + GRID[0] * GRID[1];
/// Number of tokens of a prompt of ordinary length with its template.
const PROMPT_TOKENS: usize = 60;
const DTYPES: [(&str, DType); 2] = [("f32", DType::F32), ("bf16", DType::BF16)];

fn random<const D: usize>(shape: [usize; D], dtype: DType) -> Tensor<Flex, D> {
    Tensor::<Flex, D>::random(
        shape,
        Distribution::Normal(0.0, 1.0),
        (&FlexDevice, DType::F32),
    )
    .cast(dtype)
}

/// Times `run` under a name, given its number of operations.
fn bench<R>(criterion: &mut Criterion, name: &str, flops: u64, mut run: impl FnMut() -> R) {
    let mut group = criterion.benchmark_group(name.split('/').next().unwrap_or(name));
    group.sample_size(10);
    group.throughput(Throughput::Elements(flops));
    group.bench_function(
        name.split_once('/').map_or("", |(_, rest)| rest),
        |bencher| {
            bencher.iter(&mut run);
        },
    );
    group.finish();
}

fn blocks(criterion: &mut Criterion, size: &str, config: &TransformerConfig) {
    let hidden = config.hidden_size();
    for (name, dtype) in DTYPES {
        let label = |part: &str| format!("{size} {name}/{part}");
        let model: OvisImageTransformer<Flex> = sizes::cast(config.init(&FlexDevice), dtype);
        let rope = model.rope(TEXT_TOKENS, GRID, &FlexDevice);
        let modulation = model.modulation(model.conditioning(&[0.5]));

        let joint = random([1, TOKENS, hidden], dtype);
        let layer = &model.single_blocks[0].qkv_mlp;
        let flops = sizes::linear_flops(TOKENS, hidden, layer.weight.dims()[0]);
        bench(criterion, &label("linear layer"), flops, || {
            layer.forward(joint.clone())
        });

        let head = || random([1, config.num_attention_heads, TOKENS, 128], dtype);
        let (query, key, value) = (head(), head(), head());
        let flops = sizes::attention_flops(TOKENS, hidden);
        bench(criterion, &label("joint attention"), flops, || {
            let (query, key, value) = (query.clone(), key.clone(), value.clone());
            kernels::multi_head_attention(query, key, value, AttentionMask::Full)
        });

        let feed_forward = &model.double_blocks[0].image_feed_forward;
        let flops = sizes::linear_flops(TOKENS, hidden, 12 * hidden);
        bench(criterion, &label("SwiGLU"), flops, || {
            feed_forward.forward(joint.clone())
        });

        let streams = JointHiddenStates {
            image: joint.clone().narrow(1, TEXT_TOKENS, TOKENS - TEXT_TOKENS),
            text: joint.clone().narrow(1, 0, TEXT_TOKENS),
        };
        let flops = sizes::block_flops(config, TOKENS);
        bench(criterion, &label("double block"), flops, || {
            let block = &model.double_blocks[0];
            block.forward_modulated(streams.clone(), &modulation.double_blocks[0], &rope)
        });
        bench(criterion, &label("single block"), flops, || {
            let block = &model.single_blocks[0];
            block.forward_modulated(joint.clone(), &modulation.single_blocks[0], &rope)
        });

        let input = TransformerInput {
            latents: random([1, TOKENS - TEXT_TOKENS, config.in_channels], dtype),
            prompt_embeds: random([1, TEXT_TOKENS, config.joint_attention_dim], dtype),
            rope: &rope,
        };
        let flops = sizes::forward_flops(config, TOKENS);
        bench(criterion, &label("whole forward"), flops, || {
            model.forward_modulated(input.clone(), &modulation)
        });
    }
}

fn transformer(criterion: &mut Criterion) {
    blocks(criterion, "middle", &sizes::middle_transformer());
    blocks(criterion, "7B", &sizes::wide_transformer());
}

fn text_encoder(criterion: &mut Criterion) {
    let config = sizes::wide_text_encoder();
    for (name, dtype) in DTYPES {
        let model: TextEncoder<Flex> = sizes::cast(config.init(&FlexDevice), dtype);
        let embeds = random([1, PROMPT_TOKENS, config.hidden_size], dtype);
        let flops = sizes::text_encoder_flops(&config, PROMPT_TOKENS);
        let label = format!("7B {name}/text encoder, two layers");
        bench(criterion, &label, flops, || {
            model.forward_embeds(embeds.clone(), None)
        });
    }
}

fn vae(criterion: &mut Criterion) {
    let config = sizes::full_vae();
    for (name, dtype) in DTYPES {
        let vae: ovis_image::vae::AutoencoderKl<Flex> =
            sizes::cast(config.init(&FlexDevice), dtype);
        let latents = random([1, 16, 32, 32], dtype);
        let flops = sizes::decode_flops(&config, 256);
        let label = format!("7B {name}/VAE decode to 256x256");
        bench(criterion, &label, flops, || vae.decode(latents.clone()));
    }
}

criterion_group!(models, transformer, text_encoder, vae);

fn main() -> Result<ExitCode> {
    if let Some(code) = forced::run_without_our_argument()? {
        return Ok(code);
    }
    models();
    Criterion::default().configure_from_args().final_summary();
    Ok(ExitCode::SUCCESS)
}
