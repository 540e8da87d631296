//! The kernels that are timed, and their sizes.

use burn::tensor::{DType, Distribution, Tensor};
use burn_flex::{Flex, FlexDevice};
use ovis_image::kernels;
use ovis_image::ops::{Activation, AttentionMask, Pairs, RotaryTable};
use ovis_image::vae::AutoencoderKl;
use ovis_image_benches as sizes;

use crate::report::Report;

/// Number of tokens: 256 of text and those of 256x256 pixels.
const TOKENS: usize = 512;
/// Number of tokens with an image of 1024x1024 pixels.
const LARGE_TOKENS: usize = 4352;
const HEAD_DIM: usize = 128;
/// Width of the release's transformer.
const HIDDEN: usize = 3072;
const EPS: f64 = 1e-6;

/// Times linear layers and attention.
pub(crate) fn products(report: &mut Report, dtype_name: &str, dtype: DType) {
    for (size, hidden) in [("middle", 768), ("7B", HIDDEN)] {
        let out = 11 * hidden;
        let (input, weight) = (
            random([TOKENS, hidden], dtype),
            random([out, hidden], dtype),
        );
        let flops = sizes::linear_flops(TOKENS, hidden, out);
        report.computes(format!("{size} {dtype_name}/linear layer"), flops, || {
            kernels::linear_layer(input.clone(), weight.clone(), None);
        });
    }
    for (size, heads, tokens) in [
        ("middle", 6, TOKENS),
        ("7B", 24, TOKENS),
        ("1024x1024", 6, LARGE_TOKENS),
    ] {
        let head = || random([1, heads, tokens, HEAD_DIM], dtype);
        let (query, key, value) = (head(), head(), head());
        let flops = sizes::attention_flops(tokens, heads * HEAD_DIM);
        let name = format!("{size} {dtype_name}/joint attention");
        report.computes(name, flops, || {
            let (query, key, value) = (query.clone(), key.clone(), value.clone());
            kernels::multi_head_attention(query, key, value, AttentionMask::Full);
        });
    }
}

/// Times the passes over all elements, whose limit is the memory. Each tensor is larger than the
/// caches: those of a block at the release's width, and of the decoder's last level, at 1024x1024
/// and 512x512 pixels.
pub(crate) fn passes(report: &mut Report, dtype_name: &str, dtype: DType) {
    let tokens = |width| random([1, LARGE_TOKENS, width], dtype);
    let one = |width| random([1, 1, width], dtype);
    // Tensors read and written, each of `elements`.
    let bytes = |tensors: usize, elements: usize| tensors * elements * dtype.size();
    let name = |part: &str| format!("1024x1024 {dtype_name}/{part}");

    let inner = 4 * HIDDEN;
    let (gate, up) = (tokens(inner), tokens(inner));
    report.moves(name("SwiGLU"), bytes(3, LARGE_TOKENS * inner), || {
        kernels::swiglu(gate.clone(), up.clone());
    });
    drop((gate, up));

    let elements = LARGE_TOKENS * HIDDEN;
    let (joint, update) = (tokens(HIDDEN), tokens(HIDDEN));
    let (shift, scale) = (one(HIDDEN), one(HIDDEN));
    report.moves(name("modulated norm"), bytes(2, elements), || {
        kernels::modulated_norm(joint.clone(), shift.clone(), scale.clone(), EPS);
    });
    report.moves(name("add gated"), bytes(3, elements), || {
        kernels::add_gated(joint.clone(), scale.clone(), update.clone());
    });
    let angles = || random([LARGE_TOKENS, HEAD_DIM / 2], DType::F32);
    let rope: RotaryTable<Flex> = RotaryTable {
        cos: angles(),
        sin: angles(),
    };
    let weight = random([HEAD_DIM], dtype);
    report.moves(name("norm and rotate"), bytes(2, elements), || {
        let (joint, weight) = (joint.clone(), weight.clone());
        kernels::norm_and_rotate(joint, weight, EPS, &rope, Pairs::Adjacent);
    });

    let [channels, side] = [128, 512];
    let image = random([1, channels, side, side], dtype);
    let (weight, bias) = (random([channels], dtype), random([channels], dtype));
    let name = format!("512x512 {dtype_name}/group norm, SiLU");
    report.moves(name, bytes(2, channels * side * side), || {
        let (image, weight, bias) = (image.clone(), weight.clone(), bias.clone());
        kernels::group_norm(image, weight, bias, 32, EPS, Activation::Silu);
    });
}

/// Times a 3x3 convolution of the decoder, counted as a direct one.
pub(crate) fn convolution(report: &mut Report, dtype_name: &str, dtype: DType) {
    let [channels, side] = [256, 256];
    let image = random([1, channels, side, side], dtype);
    let weight = random([channels, channels, 3, 3], dtype);
    let bias = random([channels], dtype);
    let flops = sizes::linear_flops(side * side, 9 * channels, channels);
    let name = format!("{side}x{side} {dtype_name}/3x3 convolution");
    report.computes(name, flops, || {
        kernels::convolution(image.clone(), weight.clone(), bias.clone(), 1, 1);
    });
}

/// Times the VAE's decoder.
pub(crate) fn decoder(report: &mut Report, dtype_name: &str, dtype: DType) {
    let config = sizes::full_vae();
    let vae: AutoencoderKl<Flex> = sizes::cast(config.init(&FlexDevice), dtype);
    let latents = random([1, 16, 64, 64], dtype);
    let flops = sizes::decode_flops(&config, 512);
    let name = format!("{dtype_name}/VAE decode to 512x512");
    report.computes_long(name, flops, || {
        vae.decode(latents.clone());
    });
}

fn random<const D: usize>(shape: [usize; D], dtype: DType) -> Tensor<Flex, D> {
    let normal = Distribution::Normal(0.0, 1.0);
    Tensor::<Flex, D>::random(shape, normal, (&FlexDevice, DType::F32)).cast(dtype)
}
