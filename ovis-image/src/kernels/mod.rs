//! Operations that carry most of the models' cost. Each has a portable implementation in tensor
//! operations ([`ops`]), which every backend and automatic differentiation can run, and a fast one
//! for the backends that have more: flex with kernels of this crate, LibTorch with its own. This
//! module selects one of them by the type of the backend, so that the code above requires only
//! `B: Backend`.
//!
//! The operations are not part of the stable interface, because they follow the needs of the
//! models.
//!
//! All operations panic if shapes disagree, like Burn's, and if operands differ in dtype, because
//! Burn does not promote dtypes.

#[cfg(all(feature = "flex", feature = "autodiff"))]
mod autodiff;
mod backend_info;
#[cfg(feature = "flex")]
mod flex;
#[cfg(feature = "tch")]
mod libtorch;
#[cfg(any(feature = "flex", feature = "tch"))]
mod specialize;

pub use backend_info::BackendInfo;

#[cfg(feature = "flex")]
pub use crate::cpu::{InstructionSet, InstructionSetError};

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

#[cfg(any(feature = "flex", feature = "tch"))]
use self::specialize::on_type;
use crate::ops::{self, Activation, AttentionMask, Pairs, RotaryTable};
#[cfg(feature = "autodiff")]
use crate::ops::{AdamW8bitTensors, AdamWStep, AdamWTensors};

/// Returns from the function with the output of flex's kernel if the backend is flex, with or
/// without gradients; otherwise leaves the operands unchanged.
macro_rules! use_flex_kernel {
    ($kernel:ident $(::<$dims:ident>)? ($($operand:ident),+) without gradients) => {
        #[cfg(feature = "flex")]
        let ($($operand),+) =
            match on_type(($($operand),+), |($($operand),+)| flex::$kernel $(::<$dims>)? ($($operand),+)) {
                Ok(output) => return output,
                Err(operands) => operands,
            };
    };
    ($kernel:ident $(::<$dims:ident>)? ($($operand:ident),+)) => {
        use_flex_kernel!($kernel $(::<$dims>)? ($($operand),+) without gradients);
        #[cfg(all(feature = "flex", feature = "autodiff"))]
        let ($($operand),+) =
            match on_type(($($operand),+), |($($operand),+)| autodiff::$kernel $(::<$dims>)? ($($operand),+)) {
                Ok(output) => return output,
                Err(operands) => operands,
            };
    };
}

/// Returns from the function with the output of LibTorch's kernel if the backend is LibTorch;
/// otherwise leaves the operands unchanged.
macro_rules! use_libtorch_kernel {
    ($kernel:ident $(::<$dims:ident>)? ($($operand:ident),+)) => {
        #[cfg(feature = "tch")]
        let ($($operand),+) =
            match on_type(($($operand),+), |($($operand),+)| libtorch::$kernel $(::<$dims>)? ($($operand),+)) {
                Ok(output) => return output,
                Err(operands) => operands,
            };
    };
}

/// Applies a linear layer: `input weight^T + bias`.
///
/// # Shapes
/// - `input`: `[rows, in]`
/// - `weight`: `[out, in]`
/// - `bias`: `[out]`
/// - output: `[rows, out]`
pub fn linear_layer<B: Backend>(
    input: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
) -> Tensor<B, 2> {
    use_flex_kernel!(linear_layer(input, weight, bias));
    use_libtorch_kernel!(linear_layer(input, weight, bias));
    ops::linear(input, weight, bias)
}

/// Computes `softmax(Q K^T / sqrt(head_dim)) V`. If there are fewer key heads than query heads,
/// neighboring query heads share a key head.
///
/// # Shapes
/// - `query` and output: `[batch, heads, queries, head_dim]`
/// - `key`, `value`: `[batch, kv_heads, keys, head_dim]`
pub fn multi_head_attention<B: Backend>(
    query: Tensor<B, 4>,
    key: Tensor<B, 4>,
    value: Tensor<B, 4>,
    mask: AttentionMask<B>,
) -> Tensor<B, 4> {
    use_flex_kernel!(multi_head_attention(query, key, value, mask));
    use_libtorch_kernel!(multi_head_attention(query, key, value, mask));
    ops::attention(query, key, value, mask)
}

/// Splits a tensor along an axis into parts of these sizes, which add up to the axis.
pub fn split<B: Backend, const D: usize, const PARTS: usize>(
    tensor: Tensor<B, D>,
    axis: usize,
    sizes: [usize; PARTS],
) -> [Tensor<B, D>; PARTS] {
    #[cfg(all(feature = "flex", feature = "autodiff"))]
    let tensor = match on_type((tensor, axis, sizes), |(tensor, axis, sizes)| {
        autodiff::split::<D, PARTS>(tensor, axis, sizes)
    }) {
        Ok(parts) => return parts,
        Err((tensor, ..)) => tensor,
    };
    ops::split(tensor, axis, sizes)
}

/// Joins two tensors along an axis.
pub fn join<B: Backend, const D: usize>(
    first: Tensor<B, D>,
    second: Tensor<B, D>,
    axis: usize,
) -> Tensor<B, D> {
    let tensors = [first, second];
    use_flex_kernel!(join::<D>(tensors, axis));
    Tensor::cat(tensors.to_vec(), axis)
}

/// Flattens all axes but the last.
///
/// # Shapes
/// - `input`: `[.., features]`
/// - output: `[rows, features]`
pub fn flatten<B: Backend, const D: usize>(input: Tensor<B, D>) -> Tensor<B, 2> {
    #[cfg(feature = "flex")]
    let input = match on_type(input, flex::flatten::<D>) {
        Ok(rows) => return rows,
        Err(input) => input,
    };
    #[cfg(all(feature = "flex", feature = "autodiff"))]
    let input = match on_type(input, autodiff::flatten::<D>) {
        Ok(rows) => return rows,
        Err(input) => input,
    };
    let dims = input.dims();
    input.reshape([dims[..D - 1].iter().product(), dims[D - 1]])
}

/// Joins heads to tokens.
///
/// # Shapes
/// - `heads`: `[batch, heads, tokens, head_dim]`
/// - output: `[batch, tokens, heads * head_dim]`
pub fn join_heads<B: Backend>(heads: Tensor<B, 4>) -> Tensor<B, 3> {
    #[cfg(feature = "flex")]
    let heads = match on_type(heads, flex::join_heads) {
        Ok(joined) => return joined,
        Err(heads) => heads,
    };
    #[cfg(all(feature = "flex", feature = "autodiff"))]
    let heads = match on_type(heads, autodiff::join_heads) {
        Ok(joined) => return joined,
        Err(heads) => heads,
    };
    let [batch, count, tokens, head_dim] = heads.dims();
    heads
        .swap_dims(1, 2)
        .reshape([batch, tokens, count * head_dim])
}

/// Splits projected tokens into heads.
///
/// # Shapes
/// - `projected`: `[batch, tokens, heads * head_dim]`
/// - output: `[batch, heads, tokens, head_dim]`
pub fn split_heads<B: Backend>(projected: Tensor<B, 3>, head_dim: usize) -> Tensor<B, 4> {
    use_flex_kernel!(split_heads(projected, head_dim));
    ops::split_heads(projected, head_dim)
}

/// Splits projected tokens into heads, RMS-normalizes each head and rotates its pairs, in f32;
/// returns the input's dtype.
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
    let rope = rope.clone();
    use_flex_kernel!(norm_and_rotate(projected, weight, eps, rope, pairs));
    use_libtorch_kernel!(norm_and_rotate(projected, weight, eps, rope, pairs));
    ops::norm_and_rotate(projected, weight, eps, &rope, pairs)
}

/// Computes `(1 + scale) * layer_norm(hidden_states) + shift` in f32 and returns the input's dtype.
///
/// # Shapes
/// - `hidden_states` and output: `[batch, tokens, hidden]`
/// - `shift`, `scale`: `[batch or 1, 1, hidden]`
pub fn modulated_norm<B: Backend>(
    hidden_states: Tensor<B, 3>,
    shift: Tensor<B, 3>,
    scale: Tensor<B, 3>,
    eps: f64,
) -> Tensor<B, 3> {
    use_flex_kernel!(modulated_norm(hidden_states, shift, scale, eps));
    use_libtorch_kernel!(modulated_norm(hidden_states, shift, scale, eps));
    ops::modulated_norm(hidden_states, shift, scale, eps)
}

/// Computes `x / sqrt(mean(x^2) + eps) * weight` over the last axis in f32 and returns the input's
/// dtype.
///
/// # Shapes
/// - `input` and output: `[.., features]`
/// - `weight`: `[features]`
pub fn rms_norm<B: Backend, const D: usize>(
    input: Tensor<B, D>,
    weight: Tensor<B, 1>,
    eps: f64,
) -> Tensor<B, D> {
    use_flex_kernel!(rms_norm::<D>(input, weight, eps));
    use_libtorch_kernel!(rms_norm::<D>(input, weight, eps));
    ops::rms_norm(input, weight, eps)
}

/// Computes `silu(gate) * up`.
///
/// # Shapes
/// - all: `[batch, tokens, inner]`
pub fn swiglu<B: Backend>(gate: Tensor<B, 3>, up: Tensor<B, 3>) -> Tensor<B, 3> {
    use_flex_kernel!(swiglu(gate, up));
    use_libtorch_kernel!(swiglu(gate, up));
    ops::swiglu(gate, up)
}

/// Computes `residual + gate * update`.
///
/// # Shapes
/// - `residual`, `update` and output: `[batch, tokens, hidden]`
/// - `gate`: `[batch or 1, 1, hidden]`
pub fn add_gated<B: Backend>(
    residual: Tensor<B, 3>,
    gate: Tensor<B, 3>,
    update: Tensor<B, 3>,
) -> Tensor<B, 3> {
    use_flex_kernel!(add_gated(residual, gate, update));
    use_libtorch_kernel!(add_gated(residual, gate, update));
    ops::add_gated(residual, gate, update)
}

/// Applies group normalization (arXiv 1803.08494) in f32, then the activation; returns the input's
/// dtype.
///
/// # Shapes
/// - `input` and output: `[batch, channels, height, width]`
/// - `weight`, `bias`: `[channels]`
pub fn group_norm<B: Backend>(
    input: Tensor<B, 4>,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    groups: usize,
    eps: f64,
    activation: Activation,
) -> Tensor<B, 4> {
    use_flex_kernel!(group_norm(input, weight, bias, groups, eps, activation));
    use_libtorch_kernel!(group_norm(input, weight, bias, groups, eps, activation));
    ops::group_norm(input, weight, bias, groups, eps, activation)
}

/// Applies a convolution with a square kernel.
///
/// # Shapes
/// - `input`: `[batch, in, height, width]`
/// - `weight`: `[out, in, kernel, kernel]`
/// - `bias`: `[out]`
/// - output: `[batch, out, height', width']`
pub fn convolution<B: Backend>(
    input: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    bias: Tensor<B, 1>,
    stride: usize,
    padding: usize,
) -> Tensor<B, 4> {
    use_flex_kernel!(convolution(input, weight, bias, stride, padding));
    use_libtorch_kernel!(convolution(input, weight, bias, stride, padding));
    ops::conv2d(input, weight, bias, stride, padding)
}

/// Applies a convolution of stride 2 with one row and column of zeros after the input's last ones.
///
/// # Shapes
/// Same as [`convolution`].
pub fn halving_convolution<B: Backend>(
    input: Tensor<B, 4>,
    weight: Tensor<B, 4>,
    bias: Tensor<B, 1>,
) -> Tensor<B, 4> {
    use_flex_kernel!(halving_convolution(input, weight, bias));
    use_libtorch_kernel!(halving_convolution(input, weight, bias));
    ops::halving_convolution(input, weight, bias)
}

/// Doubles height and width: every pixel becomes four.
///
/// # Shapes
/// - `input`: `[batch, channels, height, width]`
/// - output: `[batch, channels, 2 * height, 2 * width]`
pub fn double_size<B: Backend>(input: Tensor<B, 4>) -> Tensor<B, 4> {
    #[cfg(feature = "flex")]
    let input = match on_type(input, flex::double_size) {
        Ok(output) => return output,
        Err(input) => input,
    };
    #[cfg(all(feature = "flex", feature = "autodiff"))]
    let input = match on_type(input, autodiff::double_size) {
        Ok(output) => return output,
        Err(input) => input,
    };
    #[cfg(feature = "tch")]
    let input = match on_type(input, libtorch::double_size) {
        Ok(output) => return output,
        Err(input) => input,
    };
    ops::double_size(input)
}

/// Splits latents into 2x2 patches, one per image token: [`ops::pack_latents`] without memory that
/// is shared with the latents.
///
/// # Shapes
/// - `latents`: `[batch, channels, height, width]`, both sides even
/// - output: `[batch, height/2 * width/2, channels * 4]`
pub fn pack_latents<B: Backend>(latents: Tensor<B, 4>) -> Tensor<B, 3> {
    #[cfg(feature = "tch")]
    let latents = match on_type(latents, libtorch::pack_latents) {
        Ok(tokens) => return tokens,
        Err(latents) => latents,
    };
    ops::pack_latents(latents)
}

/// Reverses [`pack_latents`] for a grid of `rows` x `columns` patches.
///
/// # Shapes
/// - `tokens`: `[batch, rows * columns, channels * 4]`
/// - output: `[batch, channels, rows * 2, columns * 2]`
pub fn unpack_latents<B: Backend>(tokens: Tensor<B, 3>, grid: [usize; 2]) -> Tensor<B, 4> {
    use_libtorch_kernel!(unpack_latents(tokens, grid));
    ops::unpack_latents(tokens, grid)
}

/// Applies one step of AdamW, in place where nobody else holds the tensors.
///
/// # Shapes
/// All tensors have the parameter's.
#[cfg(feature = "autodiff")]
pub fn adamw<B: Backend, const D: usize>(
    tensors: AdamWTensors<B, D>,
    gradient: Tensor<B, D>,
    step: AdamWStep,
) -> AdamWTensors<B, D> {
    use_flex_kernel!(adamw::<D>(tensors, gradient, step) without gradients);
    ops::adamw(tensors, gradient, step)
}

/// Applies one step of AdamW with moments in 8 bits, in place where nobody else holds the tensors.
///
/// # Shapes
/// - `gradient`: `[length]`, as the parameter
#[cfg(feature = "autodiff")]
pub fn adamw_8bit<B: Backend>(
    tensors: AdamW8bitTensors<B>,
    gradient: Tensor<B, 1>,
    step: AdamWStep,
) -> AdamW8bitTensors<B> {
    use_flex_kernel!(adamw_8bit(tensors, gradient, step) without gradients);
    ops::adamw_8bit(tensors, gradient, step)
}

/// Moves a tensor towards another: `from + (to - from) * weight`, in place where nobody else holds
/// `from`.
#[cfg(feature = "autodiff")]
pub fn blend<B: Backend, const D: usize>(
    from: Tensor<B, D>,
    to: Tensor<B, D>,
    weight: f32,
) -> Tensor<B, D> {
    use_flex_kernel!(blend::<D>(from, to, weight) without gradients);
    ops::blend(from, to, weight)
}

/// Sums the squares of all elements.
///
/// # Shapes
/// - output: `[1]`
#[cfg(feature = "autodiff")]
pub fn sum_of_squares<B: Backend>(tensor: Tensor<B, 1>) -> Tensor<B, 1> {
    #[cfg(feature = "flex")]
    let tensor = match on_type(tensor, flex::sum_of_squares) {
        Ok(sum) => return sum,
        Err(tensor) => tensor,
    };
    ops::sum_of_squares(tensor)
}

/// Rounds f32 values to bf16 at random, so that the result is right on average.
///
/// # Shapes
/// - output: that of `values`, in bf16
#[cfg(feature = "autodiff")]
pub fn stochastic_round<B: Backend>(values: Tensor<B, 1>, key: u64) -> Tensor<B, 1> {
    #[cfg(feature = "flex")]
    let values = match on_type(values, |values| flex::stochastic_round(values, key)) {
        Ok(rounded) => return rounded,
        Err(values) => values,
    };
    ops::stochastic_round(values, key)
}
