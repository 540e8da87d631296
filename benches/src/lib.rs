//! Sizes that the benchmarks share, and the numbers of floating-point operations of their parts: a
//! multiplication and an addition count as two.

pub mod forced;
pub mod peak;
pub mod random;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use ovis_image::config::{TextEncoderConfig, TransformerConfig, VaeConfig};

/// Returns the middle size: an MMDiT of 768 = 6 heads of 128, 2 double and 8 single blocks.
pub fn middle_transformer() -> TransformerConfig {
    let mut config = TransformerConfig::ovis_image_7b();
    config.num_layers = 2;
    config.num_single_layers = 8;
    config.num_attention_heads = 6;
    config.joint_attention_dim = 512;
    config
}

/// Returns the release's transformer with one block of each kind.
pub fn wide_transformer() -> TransformerConfig {
    let mut config = TransformerConfig::ovis_image_7b();
    config.num_layers = 1;
    config.num_single_layers = 1;
    config
}

/// Returns the release's text encoder with two of its 28 layers and a small vocabulary.
pub fn wide_text_encoder() -> TextEncoderConfig {
    let mut config = TextEncoderConfig::ovis_image_7b();
    config.num_hidden_layers = 2;
    config.vocab_size = 1024;
    config
}

/// Returns the release's VAE.
pub fn full_vae() -> VaeConfig {
    VaeConfig::ovis_image_7b()
}

/// Returns the operations of a linear layer.
pub fn linear_flops(rows: usize, input: usize, output: usize) -> u64 {
    2 * (rows * input * output) as u64
}

/// Returns the operations of an attention in which every token attends to all.
pub fn attention_flops(tokens: usize, hidden: usize) -> u64 {
    4 * (tokens * tokens * hidden) as u64
}

/// Returns the operations of a transformer block, double or single: each token is multiplied with
/// 16 times the width squared of weights.
pub fn block_flops(config: &TransformerConfig, tokens: usize) -> u64 {
    let hidden = config.hidden_size();
    linear_flops(tokens, hidden, 16 * hidden) + attention_flops(tokens, hidden)
}

/// Returns the operations of a forward's blocks.
pub fn forward_flops(config: &TransformerConfig, tokens: usize) -> u64 {
    (config.num_layers + config.num_single_layers) as u64 * block_flops(config, tokens)
}

/// Returns the operations of the text encoder's products; causal attention at these lengths is
/// below a hundredth.
pub fn text_encoder_flops(config: &TextEncoderConfig, tokens: usize) -> u64 {
    let queries = config.num_attention_heads * config.head_dim;
    let keys = config.num_key_value_heads * config.head_dim;
    let per_token = 2 * queries + 2 * keys + 3 * config.intermediate_size;
    config.num_hidden_layers as u64 * linear_flops(tokens, config.hidden_size, per_token)
}

/// Returns the operations of the decoder's convolutions to a square image, counted as direct ones,
/// and of its attention.
pub fn decode_flops(config: &VaeConfig, side: usize) -> u64 {
    let widths = &config.block_out_channels;
    let top = widths[widths.len() - 1];
    let mut pixels = (side >> (widths.len() - 1)).pow(2);
    let conv = |pixels: usize, a: usize, b: usize| linear_flops(pixels, 9 * a, b);
    let mut flops = conv(pixels, config.latent_channels, top) + 4 * conv(pixels, top, top);
    flops += linear_flops(pixels, top, 4 * top) + attention_flops(pixels, top);
    let mut width = top;
    for (level, out) in widths.iter().rev().enumerate() {
        let more = 2 * config.layers_per_block + 1;
        flops += conv(pixels, width, *out) + more as u64 * conv(pixels, *out, *out);
        if width != *out {
            flops += linear_flops(pixels, width, *out);
        }
        width = *out;
        if level + 1 < widths.len() {
            pixels *= 4;
            flops += conv(pixels, width, width);
        }
    }
    flops + conv(pixels, width, 3)
}

/// Converts a model's parameters to another dtype.
pub fn cast<B: Backend, M: Module<B>>(model: M, dtype: DType) -> M {
    struct Cast(DType);

    impl<B: Backend> ModuleMapper<B> for Cast {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
            param.map(|tensor| tensor.cast(self.0))
        }
    }

    model.map(&mut Cast(dtype))
}

/// Returns the peak of the resident set in bytes, if Linux reports it.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
