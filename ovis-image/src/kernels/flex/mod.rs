//! Implementation of the operations on Burn's flex with the kernels of [`cpu`]. Operands that the
//! kernels do not support (another dtype, mixed dtypes, an explicit mask) fall back to the portable
//! implementation.

/// Runs `$body` with `$T` as the element type of `$dtype`, or `$default` if there is no kernel for
/// it.
macro_rules! by_dtype {
    ($dtype:expr, $T:ident => $body:expr, $default:expr) => {
        match $dtype {
            burn::tensor::DType::F32 => {
                type $T = f32;
                $body
            }
            burn::tensor::DType::BF16 => {
                type $T = half::bf16;
                $body
            }
            burn::tensor::DType::F16 => {
                type $T = half::f16;
                $body
            }
            _ => $default,
        }
    };
}

#[cfg(feature = "autodiff")]
pub(super) mod gradients;
mod layout;
#[cfg(feature = "autodiff")]
mod optimizer;
#[cfg(test)]
mod tests;
pub(super) mod views;

use burn::tensor::Tensor;
use burn_flex::{Flex, Layout};

#[cfg(feature = "autodiff")]
pub(super) use self::layout::join_all;
pub(super) use self::layout::{flatten, join, join_heads};
#[cfg(feature = "autodiff")]
pub(super) use self::optimizer::{adamw, adamw_8bit, blend, stochastic_round, sum_of_squares};
use self::views::{
    contiguous, dense_rows, elements, from_flex, matrix, output_of, per_batch, rows, split, stride,
    tensor, zeros,
};
use crate::cpu::{self, AttentionShape, ConvolutionShape, InstructionSet, Rows};
use crate::ops::{self, Activation, AttentionMask, Pairs, RotaryTable};

pub(super) fn linear_layer(
    input: Tensor<Flex, 2>,
    weight: Tensor<Flex, 2>,
    bias: Option<Tensor<Flex, 1>>,
) -> Tensor<Flex, 2> {
    let dtype = input.dtype();
    let same = weight.dtype() == dtype && bias.as_ref().is_none_or(|b| b.dtype() == dtype);
    if !same {
        return ops::linear(input, weight, bias);
    }
    let ([rows, k], [out_features, in_features]) = (input.dims(), weight.dims());
    assert_eq!(
        k, in_features,
        "linear: the input's width differs from the weight's"
    );
    by_dtype!(dtype, T => {
        let (input, weight) = (dense_rows(input), dense_rows(weight));
        let bias = bias.map(contiguous);
        let output = output_of::<T>(rows * out_features, |output| {
            cpu::linear(
            InstructionSet::in_use(),
            &matrix::<T>(&input),
            &matrix::<T>(&weight),
            bias.as_ref().map(elements::<T>), output);
        });
        tensor(output, [rows, out_features])
    }, ops::linear(input, weight, bias))
}

pub(super) fn multi_head_attention(
    query: Tensor<Flex, 4>,
    key: Tensor<Flex, 4>,
    value: Tensor<Flex, 4>,
    mask: AttentionMask<Flex>,
) -> Tensor<Flex, 4> {
    let dtype = query.dtype();
    let causal = match (&mask, dtype == key.dtype() && dtype == value.dtype()) {
        (AttentionMask::Full, true) => false,
        (AttentionMask::Causal, true) => true,
        _ => return ops::attention(query, key, value, mask),
    };
    let [batch, heads, queries, head_dim] = query.dims();
    let [_, kv_heads, keys, _] = key.dims();
    assert_eq!(
        key.dims(),
        value.dims(),
        "attention: keys and values differ in shape"
    );
    let shape = AttentionShape {
        batch,
        heads,
        kv_heads,
        queries,
        keys,
        head_dim,
        causal,
    };
    by_dtype!(dtype, T => {
        let (query, key, value) = (dense_rows(query), dense_rows(key), dense_rows(value));
        let mut output = zeros::<T>(batch * heads * queries * head_dim);
        cpu::attention::<T>(InstructionSet::in_use(), split(&query), split(&key), split(&value), shape, &mut output);
        tensor(output, [batch, queries, heads, head_dim]).swap_dims(1, 2)
    }, ops::attention(query, key, value, mask))
}

pub(super) fn split_heads(projected: Tensor<Flex, 3>, head_dim: usize) -> Tensor<Flex, 4> {
    let [batch, tokens, width] = projected.dims();
    let projected = dense_rows(projected);
    let [outer, inner] = [stride(&projected, 0), stride(&projected, 1)];
    let layout = Layout::new(
        [batch, width / head_dim, tokens, head_dim].into(),
        vec![outer as isize, head_dim as isize, inner as isize, 1],
        projected.layout().start_offset(),
    );
    from_flex(projected.with_layout(layout))
}

pub(super) fn norm_and_rotate(
    projected: Tensor<Flex, 3>,
    weight: Tensor<Flex, 1>,
    eps: f64,
    rope: RotaryTable<Flex>,
    pairs: Pairs,
) -> Tensor<Flex, 4> {
    let dtype = projected.dtype();
    let [batch, tokens, width] = projected.dims();
    let [head_dim] = weight.dims();
    let [angles, _] = rope.cos.dims();
    assert_eq!(
        angles, tokens,
        "norm_and_rotate: the rotary table has a different length"
    );
    by_dtype!(dtype, T => {
        let projected = dense_rows(projected);
        let weight = contiguous(weight.cast(dtype));
        let (cos, sin) = (contiguous(rope.cos.clone()), contiguous(rope.sin.clone()));
        let output = output_of::<T>(batch * tokens * width, |output| {
            cpu::norm_and_rotate::<T>(
            InstructionSet::in_use(),
            rows(&projected),
            elements(&weight),
            eps as f32,
            [elements(&cos), elements(&sin)],
            pairs, output);
        });
        tensor(output, [batch, tokens, width / head_dim, head_dim]).swap_dims(1, 2)
    }, ops::norm_and_rotate(projected, weight, eps, &rope, pairs))
}

pub(super) fn modulated_norm(
    hidden_states: Tensor<Flex, 3>,
    shift: Tensor<Flex, 3>,
    scale: Tensor<Flex, 3>,
    eps: f64,
) -> Tensor<Flex, 3> {
    let dtype = hidden_states.dtype();
    if shift.dtype() != dtype || scale.dtype() != dtype {
        return ops::modulated_norm(hidden_states, shift, scale, eps);
    }
    let dims = hidden_states.dims();
    by_dtype!(dtype, T => {
        let input = dense_rows(hidden_states);
        let (shift, scale) = (dense_rows(shift), dense_rows(scale));
        let output = output_of::<T>(dims.iter().product(), |output| {
            cpu::modulated_norm::<T>(
            InstructionSet::in_use(),
            rows(&input),
            per_batch(&shift),
            per_batch(&scale),
            eps as f32, output);
        });
        tensor(output, dims)
    }, ops::modulated_norm(hidden_states, shift, scale, eps))
}

pub(super) fn rms_norm<const D: usize>(
    input: Tensor<Flex, D>,
    weight: Tensor<Flex, 1>,
    eps: f64,
) -> Tensor<Flex, D> {
    let dtype = input.dtype();
    let dims = input.dims();
    by_dtype!(dtype, T => {
        let (input, weight) = (contiguous(input), contiguous(weight.cast(dtype)));
        let input = Rows::contiguous(elements::<T>(&input), dims[D - 1]);
        let output = output_of::<T>(dims.iter().product(), |output| {
            cpu::rms_norm::<T>(InstructionSet::in_use(), input, elements(&weight), eps as f32, output);
        });
        tensor(output, dims)
    }, ops::rms_norm(input, weight, eps))
}

pub(super) fn swiglu(gate: Tensor<Flex, 3>, up: Tensor<Flex, 3>) -> Tensor<Flex, 3> {
    if gate.dtype() != up.dtype() || gate.dims() != up.dims() {
        return ops::swiglu(gate, up);
    }
    let dims = gate.dims();
    by_dtype!(gate.dtype(), T => {
        let (gate, up) = (dense_rows(gate), dense_rows(up));
        let output = output_of::<T>(dims.iter().product(), |output| {
            cpu::swiglu::<T>(InstructionSet::in_use(), rows(&gate), rows(&up), output);
        });
        tensor(output, dims)
    }, ops::swiglu(gate, up))
}

pub(super) fn add_gated(
    residual: Tensor<Flex, 3>,
    gate: Tensor<Flex, 3>,
    update: Tensor<Flex, 3>,
) -> Tensor<Flex, 3> {
    let dtype = residual.dtype();
    let dims = residual.dims();
    if gate.dtype() != dtype || update.dtype() != dtype || update.dims() != dims {
        return ops::add_gated(residual, gate, update);
    }
    by_dtype!(dtype, T => {
        let (residual, gate, update) = (dense_rows(residual), dense_rows(gate), dense_rows(update));
        let output = output_of::<T>(dims.iter().product(), |output| {
            cpu::add_gated::<T>(InstructionSet::in_use(), rows(&residual), per_batch(&gate), rows(&update), output);
        });
        tensor(output, dims)
    }, ops::add_gated(residual, gate, update))
}

pub(super) fn group_norm(
    input: Tensor<Flex, 4>,
    weight: Tensor<Flex, 1>,
    bias: Tensor<Flex, 1>,
    groups: usize,
    eps: f64,
    activation: Activation,
) -> Tensor<Flex, 4> {
    let dtype = input.dtype();
    let dims @ [_, channels, height, width] = input.dims();
    by_dtype!(dtype, T => {
        let input = contiguous(input);
        let (weight, bias) = (contiguous(weight.cast(dtype)), contiguous(bias.cast(dtype)));
        let mut output = zeros::<T>(dims.iter().product());
        cpu::group_norm::<T>(
            InstructionSet::in_use(),
            elements(&input),
            [groups, channels, height * width],
            [elements(&weight), elements(&bias)],
            eps as f32,
            activation,
            &mut output,
        );
        tensor(output, dims)
    }, ops::group_norm(input, weight, bias, groups, eps, activation))
}

pub(super) fn convolution(
    input: Tensor<Flex, 4>,
    weight: Tensor<Flex, 4>,
    bias: Tensor<Flex, 1>,
    stride: usize,
    padding: usize,
) -> Tensor<Flex, 4> {
    let dtype = input.dtype();
    let dims @ [_, channels, ..] = input.dims();
    let [outputs, inputs, ..] = weight.dims();
    if weight.dtype() != dtype || bias.dtype() != dtype {
        return ops::conv2d(input, weight, bias, stride, padding);
    }
    assert_eq!(
        channels, inputs,
        "convolution: the input's channels differ from the weight's"
    );
    let shape = convolution_shape(&input, &weight, stride, [padding; 2]);
    let [height, width] = shape.output_size();
    by_dtype!(dtype, T => {
        let (input, weight, bias) = (contiguous(input), contiguous(weight), contiguous(bias));
        let (input, weight, bias) = (
            elements::<T>(&input),
            elements::<T>(&weight),
            elements::<T>(&bias),
        );
        let set = InstructionSet::in_use();
        let mut output = zeros::<T>(shape.batch * outputs * height * width);
        match (shape.kernel, stride, padding) {
            (3, 1, 1) => cpu::conv3x3(set, input, dims, weight, bias, &mut output),
            (1, 1, 0) => cpu::conv1x1(set, input, dims, weight, bias, &mut output),
            _ => cpu::conv_by_columns(set, input, weight, bias, shape, &mut output),
        }
        tensor(output, [shape.batch, outputs, height, width])
    }, ops::conv2d(input, weight, bias, stride, padding))
}

pub(super) fn halving_convolution(
    input: Tensor<Flex, 4>,
    weight: Tensor<Flex, 4>,
    bias: Tensor<Flex, 1>,
) -> Tensor<Flex, 4> {
    let dtype = input.dtype();
    if weight.dtype() != dtype || bias.dtype() != dtype {
        return ops::halving_convolution(input, weight, bias);
    }
    let shape = convolution_shape(&input, &weight, 2, [0, 1]);
    let [height, width] = shape.output_size();
    by_dtype!(dtype, T => {
        let (input, weight, bias) = (contiguous(input), contiguous(weight), contiguous(bias));
        let mut output = zeros::<T>(shape.batch * shape.outputs * height * width);
        cpu::conv_by_columns(
            InstructionSet::in_use(),
            elements(&input),
            elements(&weight),
            elements(&bias),
            shape,
            &mut output,
        );
        tensor(output, [shape.batch, shape.outputs, height, width])
    }, ops::halving_convolution(input, weight, bias))
}

pub(super) fn double_size(input: Tensor<Flex, 4>) -> Tensor<Flex, 4> {
    let [batch, channels, height, width] = input.dims();
    by_dtype!(input.dtype(), T => {
        let input = contiguous(input);
        let output = output_of::<T>(4 * batch * channels * height * width, |output| {
            cpu::double_size(elements(&input), [height, width], output);
        });
        tensor(output, [batch, channels, 2 * height, 2 * width])
    }, ops::double_size(input))
}

/// Returns the sizes of a convolution.
fn convolution_shape(
    input: &Tensor<Flex, 4>,
    weight: &Tensor<Flex, 4>,
    stride: usize,
    padding: [usize; 2],
) -> ConvolutionShape {
    let [batch, channels, height, width] = input.dims();
    let [outputs, _, kernel, _] = weight.dims();
    ConvolutionShape {
        batch,
        channels,
        height,
        width,
        outputs,
        kernel,
        stride,
        padding,
    }
}
