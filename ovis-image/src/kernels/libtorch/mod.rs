//! Implementation of the operations on LibTorch with its own fused ones. Operands of mixed dtypes
//! fall back to the portable implementation, except in attention, whose portable form calls the same
//! operation with a mask that Burn does not negate.

mod tensors;
#[cfg(test)]
mod tests;

use burn::tensor::Tensor;
use burn_tch::LibTorch;

use self::tensors::{from_torch, in_f32, owned, to_torch};
use crate::ops::{self, Activation, AttentionMask, Pairs, RotaryTable};

pub(super) fn linear_layer(
    input: Tensor<LibTorch, 2>,
    weight: Tensor<LibTorch, 2>,
    bias: Option<Tensor<LibTorch, 1>>,
) -> Tensor<LibTorch, 2> {
    let dtype = input.dtype();
    if weight.dtype() != dtype || bias.as_ref().is_some_and(|bias| bias.dtype() != dtype) {
        return ops::linear(input, weight, bias);
    }
    let bias = bias.map(to_torch);
    from_torch(to_torch(input).linear(&to_torch(weight), bias))
}

pub(super) fn multi_head_attention(
    query: Tensor<LibTorch, 4>,
    key: Tensor<LibTorch, 4>,
    value: Tensor<LibTorch, 4>,
    mask: AttentionMask<LibTorch>,
) -> Tensor<LibTorch, 4> {
    let (causal, visible) = match mask {
        AttentionMask::Full => (false, None),
        AttentionMask::Causal => (true, None),
        // LibTorch's mask is true where a key is seen.
        AttentionMask::Hidden(hidden) => {
            (false, Some(hidden.into_primitive().tensor.logical_not()))
        }
    };
    let grouped = query.dims()[1] != key.dims()[1];
    let [query, key, value] = [query, key, value].map(to_torch);
    from_torch(tch::Tensor::scaled_dot_product_attention(
        &query, &key, &value, visible, 0.0, causal, None, grouped,
    ))
}

pub(super) fn norm_and_rotate(
    projected: Tensor<LibTorch, 3>,
    weight: Tensor<LibTorch, 1>,
    eps: f64,
    rope: RotaryTable<LibTorch>,
    pairs: Pairs,
) -> Tensor<LibTorch, 4> {
    let [batch, tokens, width] = projected.dims().map(|size| size as i64);
    let [head_dim] = weight.dims().map(|size| size as i64);
    let heads = to_torch(projected).reshape([batch, tokens, width / head_dim, head_dim]);
    let kind = heads.kind();
    let weight = in_f32(&to_torch(weight));
    let normalized = in_f32(&heads)
        .rms_norm([head_dim], Some(weight), eps)
        .transpose(1, 2);
    let (cos, sin) = (to_torch(rope.cos), to_torch(rope.sin));
    let rotated = match pairs {
        Pairs::Adjacent => {
            let pairs = [batch, width / head_dim, tokens, head_dim / 2, 2];
            let angles = tch::Tensor::complex(&cos, &sin);
            let complex = normalized.reshape(pairs).view_as_complex();
            (complex * angles).view_as_real().flatten(3, 4)
        }
        Pairs::Halves => {
            let halves = normalized.split(head_dim / 2, 3);
            let [first, second] = [&halves[0], &halves[1]];
            let rotated = [first * &cos - second * &sin, second * &cos + first * &sin];
            tch::Tensor::cat(&rotated, 3)
        }
    };
    from_torch(rotated.to_kind(kind))
}

pub(super) fn modulated_norm(
    hidden_states: Tensor<LibTorch, 3>,
    shift: Tensor<LibTorch, 3>,
    scale: Tensor<LibTorch, 3>,
    eps: f64,
) -> Tensor<LibTorch, 3> {
    let hidden = hidden_states.dims()[2] as i64;
    let input = to_torch(hidden_states);
    let none = None::<tch::Tensor>;
    let normalized = in_f32(&input).layer_norm([hidden], none.as_ref(), none.as_ref(), eps, true);
    let scale = in_f32(&to_torch(scale)) + 1.0;
    let output = in_f32(&to_torch(shift)).addcmul(&normalized, &scale);
    from_torch(output.to_kind(input.kind()))
}

pub(super) fn rms_norm<const D: usize>(
    input: Tensor<LibTorch, D>,
    weight: Tensor<LibTorch, 1>,
    eps: f64,
) -> Tensor<LibTorch, D> {
    let features = weight.dims()[0] as i64;
    let input = to_torch(input);
    let weight = in_f32(&to_torch(weight));
    let output = in_f32(&input).rms_norm([features], Some(weight), eps);
    from_torch(output.to_kind(input.kind()))
}

pub(super) fn swiglu(gate: Tensor<LibTorch, 3>, up: Tensor<LibTorch, 3>) -> Tensor<LibTorch, 3> {
    if gate.dtype() != up.dtype() || gate.dims() != up.dims() {
        return ops::swiglu(gate, up);
    }
    let mut product = to_torch(gate).silu();
    let _ = product.g_mul_(&to_torch(up));
    from_torch(product)
}

pub(super) fn add_gated(
    residual: Tensor<LibTorch, 3>,
    gate: Tensor<LibTorch, 3>,
    update: Tensor<LibTorch, 3>,
) -> Tensor<LibTorch, 3> {
    let dtype = residual.dtype();
    if gate.dtype() != dtype || update.dtype() != dtype {
        return ops::add_gated(residual, gate, update);
    }
    from_torch(to_torch(residual).addcmul(&to_torch(gate), &to_torch(update)))
}

pub(super) fn group_norm(
    input: Tensor<LibTorch, 4>,
    weight: Tensor<LibTorch, 1>,
    bias: Tensor<LibTorch, 1>,
    groups: usize,
    eps: f64,
    activation: Activation,
) -> Tensor<LibTorch, 4> {
    let input = to_torch(input);
    let kind = input.kind();
    // LibTorch accumulates in f32 whatever the dtype, and wants parameters of the input's.
    let [weight, bias] = [weight, bias].map(|parameter| to_torch(parameter).to_kind(kind));
    let mut output = input.group_norm(groups as i64, Some(weight), Some(bias), eps, true);
    from_torch(match activation {
        Activation::Identity => output,
        Activation::Silu => output.silu_(),
    })
}

pub(super) fn convolution(
    input: Tensor<LibTorch, 4>,
    weight: Tensor<LibTorch, 4>,
    bias: Tensor<LibTorch, 1>,
    stride: usize,
    padding: usize,
) -> Tensor<LibTorch, 4> {
    let dtype = input.dtype();
    if weight.dtype() != dtype || bias.dtype() != dtype {
        return ops::conv2d(input, weight, bias, stride, padding);
    }
    let (stride, padding) = (stride as i64, padding as i64);
    from_torch(to_torch(input).conv2d(
        &to_torch(weight),
        Some(to_torch(bias)),
        [stride; 2],
        [padding; 2],
        [1, 1],
        1,
    ))
}

pub(super) fn halving_convolution(
    input: Tensor<LibTorch, 4>,
    weight: Tensor<LibTorch, 4>,
    bias: Tensor<LibTorch, 1>,
) -> Tensor<LibTorch, 4> {
    let padded = to_torch(input).constant_pad_nd([0, 1, 0, 1]);
    convolution(from_torch(padded), weight, bias, 2, 0)
}

pub(super) fn pack_latents(latents: Tensor<LibTorch, 4>) -> Tensor<LibTorch, 3> {
    owned(ops::pack_latents(latents))
}

pub(super) fn unpack_latents(tokens: Tensor<LibTorch, 3>, grid: [usize; 2]) -> Tensor<LibTorch, 4> {
    owned(ops::unpack_latents(tokens, grid))
}

pub(super) fn double_size(input: Tensor<LibTorch, 4>) -> Tensor<LibTorch, 4> {
    let [_, _, height, width] = input.dims().map(|size| size as i64);
    from_torch(to_torch(input).upsample_nearest2d([2 * height, 2 * width], None, None))
}
