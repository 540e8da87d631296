//! Rotary position embedding (arXiv 2104.09864): tables made once per size on the host in f64,
//! applied in f32.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};

use super::norm::rms_norm_f32;

/// Cosines and sines of every position, half a head wide.
#[derive(Debug, Clone)]
pub struct RotaryTable<B: Backend> {
    /// `[tokens, head_dim / 2]`, f32.
    pub cos: Tensor<B, 2>,
    /// `[tokens, head_dim / 2]`, f32.
    pub sin: Tensor<B, 2>,
}

/// Which elements of a head form a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairs {
    /// Neighbors: the MMDiT's convention (diffusers: `apply_rotary_emb`).
    Adjacent,
    /// The first half of a head with the second: Qwen3's convention (transformers: `rotate_half`).
    Halves,
}

impl<B: Backend> RotaryTable<B> {
    /// The table of positions with several axes, whose frequencies are concatenated:
    /// `angle = position * theta^(-2i / axis_dim)` for each axis.
    ///
    /// # Panics
    /// If an axis is odd: [`TransformerConfig::validate`](crate::config::TransformerConfig::validate)
    /// refuses such configurations.
    pub fn from_positions<const AXES: usize>(
        positions: &[[f64; AXES]],
        axes_dim: &[usize; AXES],
        theta: f64,
        device: &B::Device,
    ) -> Self {
        let half = axes_dim.iter().sum::<usize>() / 2;
        let frequencies: Vec<(usize, f64)> = axes_dim
            .iter()
            .enumerate()
            .flat_map(|(axis, dim)| {
                (0..dim / 2).map(move |i| (axis, theta.powf(-((2 * i) as f64) / *dim as f64)))
            })
            .collect();
        let angles: Vec<f64> = positions
            .iter()
            .flat_map(|position| frequencies.iter().map(|(axis, f)| position[*axis] * f))
            .collect();
        let table = |f: fn(f64) -> f64| {
            let values: Vec<f32> = angles.iter().map(|angle| f(*angle) as f32).collect();
            Tensor::from_data(
                TensorData::new(values, [positions.len(), half]),
                (device, DType::F32),
            )
        };
        Self {
            cos: table(f64::cos),
            sin: table(f64::sin),
        }
    }

    /// The rows of `tokens` tokens from `first` on.
    ///
    /// # Panics
    /// If the table has fewer.
    pub fn tokens(&self, first: usize, tokens: usize) -> Self {
        Self {
            cos: self.cos.clone().narrow(0, first, tokens),
            sin: self.sin.clone().narrow(0, first, tokens),
        }
    }

    /// Rotates neighboring pairs `(x0, x1) -> (x0 cos - x1 sin, x0 sin + x1 cos)`: the MMDiT's
    /// convention (diffusers: `apply_rotary_emb`).
    ///
    /// # Shapes
    /// - `input` and output: `[batch, heads, tokens, head_dim]`, f32
    pub fn rotate_pairs(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let [batch, heads, tokens, head_dim] = input.dims();
        let pairs = input.reshape([batch, heads, tokens, head_dim / 2, 2]);
        let even = pairs.clone().narrow(4, 0, 1);
        let odd = pairs.narrow(4, 1, 1);
        let cos = self.cos.clone().reshape([1, 1, tokens, head_dim / 2, 1]);
        let sin = self.sin.clone().reshape([1, 1, tokens, head_dim / 2, 1]);
        Tensor::cat(
            vec![
                even.clone() * cos.clone() - odd.clone() * sin.clone(),
                even * sin + odd * cos,
            ],
            4,
        )
        .reshape([batch, heads, tokens, head_dim])
    }

    /// Rotates the first half of a head against the second: Qwen3's convention (transformers:
    /// `rotate_half`).
    ///
    /// # Shapes
    /// - `input` and output: `[batch, heads, tokens, head_dim]`, f32
    pub fn rotate_halves(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let half = input.dims()[3] / 2;
        let first = input.clone().narrow(3, 0, half);
        let second = input.narrow(3, half, half);
        let cos = self.cos.clone().unsqueeze::<4>();
        let sin = self.sin.clone().unsqueeze::<4>();
        Tensor::cat(
            vec![
                first.clone() * cos.clone() - second.clone() * sin.clone(),
                second * cos + first * sin,
            ],
            3,
        )
    }
}

/// `[batch, tokens, heads * head_dim]` to `[batch, heads, tokens, head_dim]`.
pub fn split_heads<B: Backend>(projected: Tensor<B, 3>, head_dim: usize) -> Tensor<B, 4> {
    let [batch, tokens, width] = projected.dims();
    projected
        .reshape([batch, tokens, width / head_dim, head_dim])
        .swap_dims(1, 2)
}

/// Cuts projected tokens into heads, RMS-normalizes each and rotates its pairs, in f32 and then the
/// input's dtype.
///
/// # Shapes
/// - `projected`: `[batch, tokens, heads * head_dim]`
/// - `weight`: `[head_dim]`
/// - output: `[batch, heads, tokens, head_dim]`
pub fn norm_and_rotate<B: Backend>(
    projected: Tensor<B, 3>,
    weight: Tensor<B, 1>,
    eps: f64,
    rope: &RotaryTable<B>,
    pairs: Pairs,
) -> Tensor<B, 4> {
    let dtype = projected.dtype();
    let [head_dim] = weight.dims();
    let normalized = rms_norm_f32(split_heads(projected, head_dim), weight, eps);
    match pairs {
        Pairs::Adjacent => rope.rotate_pairs(normalized),
        Pairs::Halves => rope.rotate_halves(normalized),
    }
    .cast(dtype)
}
