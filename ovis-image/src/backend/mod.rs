//! What the models ask of a backend beyond Burn's own operations. Each operation has a default body
//! in tensor operations, the plain path, which every backend and automatic differentiation can run;
//! a backend that does better overrides it, and is tested against that body.

#[cfg(feature = "flex")]
mod flex;
#[cfg(all(test, feature = "flex"))]
mod flex_tests;
mod plain;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::ops::{self, AttentionMask, Pairs, RotaryTable};

/// A backend with the operations of Ovis-Image.
///
/// Implemented for the backends behind this crate's features. For one of your own,
/// `impl OvisOps for MyBackend {}` is enough.
///
/// # Panics
/// All operations panic when shapes disagree, as Burn's do, and when operands differ in dtype: Burn
/// does not promote dtypes.
pub trait OvisOps: Backend {
    /// `input weight^T + bias`.
    ///
    /// # Shapes
    /// - `input`: `[rows, in]`
    /// - `weight`: `[out, in]`
    /// - `bias`: `[out]`
    /// - output: `[rows, out]`
    fn linear_layer(
        input: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        bias: Option<Tensor<Self, 1>>,
    ) -> Tensor<Self, 2> {
        ops::linear(input, weight, bias)
    }

    /// `softmax(Q K^T / sqrt(head_dim)) V`, with neighbouring query heads sharing a key head where
    /// there are fewer of those.
    ///
    /// # Shapes
    /// - `query` and output: `[batch, heads, queries, head_dim]`
    /// - `key`, `value`: `[batch, kv_heads, keys, head_dim]`
    fn multi_head_attention(
        query: Tensor<Self, 4>,
        key: Tensor<Self, 4>,
        value: Tensor<Self, 4>,
        mask: AttentionMask<Self>,
    ) -> Tensor<Self, 4> {
        ops::attention(query, key, value, mask)
    }

    /// Cuts projected tokens into heads.
    ///
    /// # Shapes
    /// - `projected`: `[batch, tokens, heads * head_dim]`
    /// - output: `[batch, heads, tokens, head_dim]`
    fn split_heads(projected: Tensor<Self, 3>, head_dim: usize) -> Tensor<Self, 4> {
        ops::split_heads(projected, head_dim)
    }

    /// Cuts projected tokens into heads, RMS-normalises each and rotates its pairs, in f32; the
    /// result has the input's dtype.
    ///
    /// # Shapes
    /// - `projected`: `[batch, tokens, heads * head_dim]`
    /// - `weight`: `[head_dim]`
    /// - output: `[batch, heads, tokens, head_dim]`
    fn norm_and_rotate(
        projected: Tensor<Self, 3>,
        weight: Tensor<Self, 1>,
        eps: f64,
        rope: &RotaryTable<Self>,
        pairs: Pairs,
    ) -> Tensor<Self, 4> {
        ops::norm_and_rotate(projected, weight, eps, rope, pairs)
    }

    /// `(1 + scale) * layer_norm(hidden_states) + shift`, in f32; the result has the input's dtype.
    ///
    /// # Shapes
    /// - `hidden_states` and output: `[batch, tokens, hidden]`
    /// - `shift`, `scale`: `[batch or 1, 1, hidden]`
    fn modulated_norm(
        hidden_states: Tensor<Self, 3>,
        shift: Tensor<Self, 3>,
        scale: Tensor<Self, 3>,
        eps: f64,
    ) -> Tensor<Self, 3> {
        ops::modulated_norm(hidden_states, shift, scale, eps)
    }

    /// `x / sqrt(mean(x^2) + eps) * weight` over the last axis, in f32; the result has the input's
    /// dtype.
    ///
    /// # Shapes
    /// - `input` and output: `[.., features]`
    /// - `weight`: `[features]`
    fn rms_norm<const D: usize>(
        input: Tensor<Self, D>,
        weight: Tensor<Self, 1>,
        eps: f64,
    ) -> Tensor<Self, D> {
        ops::rms_norm(input, weight, eps)
    }

    /// `silu(gate) * up`.
    ///
    /// # Shapes
    /// - all: `[batch, tokens, inner]`
    fn swiglu(gate: Tensor<Self, 3>, up: Tensor<Self, 3>) -> Tensor<Self, 3> {
        ops::swiglu(gate, up)
    }

    /// `residual + gate * update`.
    ///
    /// # Shapes
    /// - `residual`, `update` and output: `[batch, tokens, hidden]`
    /// - `gate`: `[batch or 1, 1, hidden]`
    fn add_gated(
        residual: Tensor<Self, 3>,
        gate: Tensor<Self, 3>,
        update: Tensor<Self, 3>,
    ) -> Tensor<Self, 3> {
        ops::add_gated(residual, gate, update)
    }

    /// Group normalisation (arXiv 1803.08494) in f32, then SiLU where `with_silu`; the result has
    /// the input's dtype.
    ///
    /// # Shapes
    /// - `input` and output: `[batch, channels, height, width]`
    /// - `weight`, `bias`: `[channels]`
    fn group_norm(
        input: Tensor<Self, 4>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        groups: usize,
        eps: f64,
        with_silu: bool,
    ) -> Tensor<Self, 4> {
        ops::group_norm(input, weight, bias, groups, eps, with_silu)
    }

    /// A convolution with a square kernel.
    ///
    /// # Shapes
    /// - `input`: `[batch, in, height, width]`
    /// - `weight`: `[out, in, kernel, kernel]`
    /// - `bias`: `[out]`
    /// - output: `[batch, out, height', width']`
    fn convolution(
        input: Tensor<Self, 4>,
        weight: Tensor<Self, 4>,
        bias: Tensor<Self, 1>,
        stride: usize,
        padding: usize,
    ) -> Tensor<Self, 4> {
        ops::conv2d(input, weight, bias, stride, padding)
    }
}
