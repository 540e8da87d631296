//! Sequences of more than 4096 tokens, from which on Burn's attention changes its kernel on GPUs,
//! and values above 65504, the largest f16. The goldens' sequences are too short for the one, and
//! their values too small for the other.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};
use libtest_mimic::{Failed, Trial};
use ovis_image::config::TransformerConfig;
use ovis_image::device::{BackendVisitor, OpenDevice};
use ovis_image::error::RuntimeError;
use ovis_image::kernels::{multi_head_attention, split_heads};
use ovis_image::ops::AttentionMask;
use ovis_image::transformer::TransformerInput;
use ovis_image::{GenerationRequest, LoadOptions, OvisImageError, OvisImagePipeline, WeightDtype};
use ovis_image_tests::compare::relative_error;
use ovis_image_tests::golden::{Case, golden_folder};

const TEXT_TOKENS: usize = 16;
/// The sides of the patch grid.
const GRID: [usize; 2] = [64, 64];
const TOKENS: usize = TEXT_TOKENS + GRID[0] * GRID[1];
/// One head suffices: what goes wrong is the step from one batch item to the next.
const HEADS: usize = 1;
const HEAD_DIM: usize = 16;

/// The checks of one GPU backend.
pub(crate) fn trials(backend: &'static str, device: &OpenDevice, computes_f16: bool) -> Vec<Trial> {
    let trial = |name: &str, check: Check| {
        let device = device.clone();
        Trial::test(format!("{backend}::{name}"), move || device.visit(check))
            .with_ignored_flag(check.needs_f16() && !computes_f16)
    };
    vec![
        trial("a long batch equals its items", Check::BatchEqualsItems),
        trial("long attention of views in f16", Check::AttentionOfViews),
        trial("long attention of large values", Check::LargeValues),
        trial("wide attention of large scores in f16", Check::LargeScores),
        trial("an overflow in f16 is an error", Check::OverflowIsAnError),
    ]
}

#[derive(Debug, Clone, Copy)]
enum Check {
    BatchEqualsItems,
    AttentionOfViews,
    LargeValues,
    LargeScores,
    OverflowIsAnError,
}

impl Check {
    fn needs_f16(self) -> bool {
        !matches!(self, Self::BatchEqualsItems | Self::LargeValues)
    }
}

impl BackendVisitor for Check {
    type Output = Result<(), Failed>;

    fn visit<B: Backend>(self, device: B::Device) -> Self::Output {
        match self {
            Self::BatchEqualsItems => batch_equals_items::<B>(&device),
            Self::AttentionOfViews => attention_of_views::<B>(&device),
            Self::LargeValues => large_values::<B>(&device),
            Self::LargeScores => large_scores::<B>(&device),
            Self::OverflowIsAnError => overflow_is_an_error::<B>(&device),
        }
    }
}

/// A transformer of one block of each kind on two items at once, against each alone.
///
/// With Burn's attention on the tensors as they are, the second item is off by 1.6e-2 on llvmpipe and
/// the first is exact: cubek's kernel reads strided tensors wrongly (docs/upstream.md).
fn batch_equals_items<B: Backend>(device: &B::Device) -> Result<(), Failed> {
    let mut config = TransformerConfig::ovis_image_7b();
    config.in_channels = 4;
    config.out_channels = None;
    config.num_layers = 1;
    config.num_single_layers = 1;
    config.attention_head_dim = HEAD_DIM;
    config.num_attention_heads = HEADS;
    config.joint_attention_dim = 8;
    config.axes_dims_rope = [4, 6, 6];
    config.validate()?;
    B::seed(device, 13);
    let transformer = config.init::<B>(device);
    let rope = transformer.rope(TEXT_TOKENS, GRID, device);
    let latents = values::<B, 3>([2, GRID[0] * GRID[1], 4], 1, device);
    let prompt_embeds = values::<B, 3>([2, TEXT_TOKENS, 8], 2, device);
    let timesteps = [0.9, 0.4];
    let forward = |first: usize, items: usize| {
        let input = TransformerInput {
            latents: latents.clone().narrow(0, first, items),
            prompt_embeds: prompt_embeds.clone().narrow(0, first, items),
            rope: &rope,
        };
        floats(transformer.forward(input, &timesteps[first..first + items]))
    };
    let batch = forward(0, 2);
    for (item, together) in batch.chunks(batch.len() / 2).enumerate() {
        let alone = forward(item, 1);
        close(&format!("item {item} in the batch"), together, &alone, 1e-5)?;
    }
    Ok(())
}

/// Attention in f16 on the views into a fused projection that the models give it, against f32.
///
/// Needs the copies in `ops::attention`: f32 and bf16 go around Burn's fused kernels, f16 does not.
fn attention_of_views<B: Backend>(device: &B::Device) -> Result<(), Failed> {
    let projected = values::<B, 3>([2, TOKENS, 3 * HEADS * HEAD_DIM], 3, device);
    let attend = |dtype: DType| {
        let projected = projected.clone().cast(DType::F16).cast(dtype);
        let [query, key, value] = [0, 1, 2].map(|part| {
            let width = HEADS * HEAD_DIM;
            // Sharp enough that each query has keys of its own.
            let scale = if part == 2 { 1.0 } else { 3.0 };
            let part = projected.clone().narrow(2, part * width, width) * scale;
            split_heads(part, HEAD_DIM)
        });
        floats(multi_head_attention(query, key, value, AttentionMask::Full))
    };
    // The kernel rounds the weights of the values to f16, half a unit in 2^-11 each.
    close("f16", &attend(DType::F16), &attend(DType::F32), 2e-3)
}

/// Powers of two that cancel leave the output as it is, up to the power on the values.
///
/// With Burn's attention on the tensors as they are, the output is not finite: cubek's kernel holds
/// f32 in f16.
fn large_values<B: Backend>(device: &B::Device) -> Result<(), Failed> {
    let large = 2f32.powi(20);
    let [query, key, value] =
        [4, 5, 6].map(|seed| values::<B, 4>([1, HEADS, TOKENS, HEAD_DIM], seed, device));
    let attend = |query, key, value| {
        floats(multi_head_attention::<B>(
            query,
            key,
            value,
            AttentionMask::Full,
        ))
    };
    let expected = attend(query.clone(), key.clone(), value.clone());
    let scaled = attend(query * large, key / large, value * large);
    let scaled: Vec<f32> = scaled.iter().map(|value| value / large).collect();
    close("scaled", &scaled, &expected, 1e-6)
}

/// Scores of -80,000 and -79,200 before the scale keep their order in f16, which does not hold them,
/// in a head as wide as the VAE's.
///
/// With the whole scale after the product, as in Burn's fallback, the output is zeros.
fn large_scores<B: Backend>(device: &B::Device) -> Result<(), Failed> {
    const WIDTH: usize = 512;
    let rows = |rows: &[f32]| {
        let values: Vec<f32> = rows.iter().flat_map(|row| [*row; WIDTH]).collect();
        let data = TensorData::new(values, [1, 1, rows.len(), WIDTH]);
        Tensor::<B, 4>::from_data(data, (device, DType::F16))
    };
    let (query, key, value) = (rows(&[12.5]), rows(&[-12.5, -12.375]), rows(&[1.0, 2.0]));
    let output = floats(multi_head_attention(query, key, value, AttentionMask::Full));
    close("large scores", &output, &[2.0; WIDTH], 1e-3)
}

/// Initial noise near the end of f16 overflows in the first block of the `base` model: an error
/// names the phase. A clamp that loses NaN would make an image of it.
fn overflow_is_an_error<B: Backend>(device: &B::Device) -> Result<(), Failed> {
    let model = golden_folder().join("base/model");
    let options = LoadOptions::new().with_dtype(WeightDtype::F16);
    let pipeline = OvisImagePipeline::<B>::from_pretrained(model, options, device)?;
    let noise = Case::read("base");
    let shape = [1, 4, noise.height / 2, noise.width / 2];
    let noise: Vec<f32> = hashed(shape.iter().product(), 7)
        .map(|value| 60_000.0 * value.signum())
        .collect();
    let request = GenerationRequest::new("a cat")
        .with_size(32, 32)
        .with_num_inference_steps(1)
        .with_guidance_scale(1.0)
        .with_latents(TensorData::new(noise, shape));
    match pipeline.generate(&request) {
        Err(OvisImageError::Runtime(RuntimeError::NonFinite { phase, count })) => {
            println!("{phase}: {count}");
            Ok(())
        }
        Err(error) => Err(error.into()),
        Ok(_) => Err("an image, from values that no f16 holds".into()),
    }
}

/// Values in -1..1 that are the same on every backend.
fn values<B: Backend, const D: usize>(
    shape: [usize; D],
    seed: u32,
    device: &B::Device,
) -> Tensor<B, D> {
    let values: Vec<f32> = hashed(shape.iter().product(), seed).collect();
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
}

/// Numbers in -1..1 by a multiplicative generator (Park and Miller's "minimal standard").
fn hashed(count: usize, seed: u32) -> impl Iterator<Item = f32> {
    const MODULUS: u64 = (1 << 31) - 1;
    let mut state = u64::from(seed) * 7919 + 1;
    (0..count).map(move |_| {
        state = state * 48271 % MODULUS;
        (state as f64 / MODULUS as f64 * 2.0 - 1.0) as f32
    })
}

fn floats<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn close(what: &str, actual: &[f32], expected: &[f32], limit: f64) -> Result<(), Failed> {
    let error = relative_error(actual, expected);
    println!("{what}: {error:.1e} of {limit:.0e}");
    if error <= limit {
        Ok(())
    } else {
        Err(format!("{what}: off by {error:.2e}, above {limit:.0e}").into())
    }
}
