//! Gradients of the operations on flex, from the gradient of the output and the saved operands. All
//! operands of one operation have the same dtype, one of f32, f16 and bf16.

use burn::tensor::{DType, Tensor};
use burn_flex::{Flex, FlexTensor};

use super::views::{
    contiguous, dense_rows, elements, matrix, output_of, per_batch, rows, split, tensor, to_flex,
    zeros,
};
use crate::cpu::gradients::{self, AttentionGradients};
use crate::cpu::{AttentionShape, Element, InstructionSet, Rows};
use crate::ops::{Activation, Pairs, RotaryTable};

/// Returns whether there are kernels for this dtype.
pub(in crate::kernels) fn supports(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
}

macro_rules! by_supported_dtype {
    ($dtype:expr, $T:ident => $body:expr) => {
        by_dtype!($dtype, $T => $body, unreachable!("recorded for supported dtypes only"))
    };
}

/// Gradients of input, weight and bias of a linear layer.
pub(in crate::kernels) fn linear_layer(
    gradient: Tensor<Flex, 2>,
    input: Tensor<Flex, 2>,
    weight: Tensor<Flex, 2>,
    [input_wanted, weight_wanted, bias_wanted]: [bool; 3],
) -> [Option<FlexTensor>; 3] {
    let set = InstructionSet::in_use();
    let ([count, in_features], [out_features, _]) = (input.dims(), weight.dims());
    by_supported_dtype!(input.dtype(), T => {
        let gradient = dense_rows(gradient);
        let dy = matrix::<T>(&gradient);
        let input_gradient = input_wanted.then(|| {
            let weight = dense_rows(weight);
            let output = output_of::<T>(count * in_features, |output| {
                gradients::linear_input(set, &dy, &matrix(&weight), output);
            });
            to_flex(tensor(output, [count, in_features]))
        });
        let weight_gradient = weight_wanted.then(|| {
            let input = dense_rows(input);
            let output = output_of::<T>(out_features * in_features, |output| {
                gradients::linear_weight(set, &dy, &matrix(&input), output);
            });
            to_flex(tensor(output, [out_features, in_features]))
        });
        let bias_gradient = bias_wanted.then(|| {
            let rows = Rows::<T>::of_matrix(&dy);
            sums::<1>(gradients::linear_bias(set, rows), [out_features], gradient_dtype::<T>())
        });
        [input_gradient, weight_gradient, bias_gradient]
    })
}

/// Gradients of query, key and value; `gradient` is `[batch, heads, queries, head_dim]`.
pub(in crate::kernels) fn multi_head_attention(
    gradient: Tensor<Flex, 4>,
    [query, key, value]: [Tensor<Flex, 4>; 3],
    causal: bool,
) -> [Option<FlexTensor>; 3] {
    let [batch, heads, queries, head_dim] = query.dims();
    let [_, kv_heads, keys, _] = key.dims();
    let shape = AttentionShape {
        batch,
        heads,
        kv_heads,
        queries,
        keys,
        head_dim,
        causal,
    };
    by_supported_dtype!(query.dtype(), T => {
        let gradient = dense_rows(gradient);
        let operands = [query, key, value].map(dense_rows);
        let mut query = zeros::<T>(batch * queries * heads * head_dim);
        let mut key = zeros::<T>(batch * keys * kv_heads * head_dim);
        let mut value = zeros::<T>(batch * keys * kv_heads * head_dim);
        gradients::attention(
            InstructionSet::in_use(),
            split(&gradient),
            operands.each_ref().map(split),
            shape,
            AttentionGradients { query: &mut query, key: &mut key, value: &mut value },
        );
        let heads_first = |values, tokens, heads| {
            Some(to_flex(tensor::<T, 4>(values, [batch, tokens, heads, head_dim]).swap_dims(1, 2)))
        };
        [
            heads_first(query, queries, heads),
            heads_first(key, keys, kv_heads),
            heads_first(value, keys, kv_heads),
        ]
    })
}

/// Gradients of projection and norm weight; `gradient` is `[batch, heads, tokens, head_dim]`.
pub(in crate::kernels) fn norm_and_rotate(
    gradient: Tensor<Flex, 4>,
    projected: Tensor<Flex, 3>,
    weight: Tensor<Flex, 1>,
    eps: f64,
    rope: RotaryTable<Flex>,
    pairs: Pairs,
) -> [Option<FlexTensor>; 2] {
    let dtype = projected.dtype();
    let [batch, tokens, width] = projected.dims();
    let weight_dtype = weight.dtype();
    let [head_dim] = weight.dims();
    by_supported_dtype!(dtype, T => {
        // Tokens before heads, as in the projection; the output of attention's gradient already is.
        let gradient = dense_rows(super::join_heads(gradient));
        let projected = dense_rows(projected);
        let weight = contiguous(weight.cast(dtype));
        let (cos, sin) = (contiguous(rope.cos), contiguous(rope.sin));
        let mut weights = Vec::new();
        let output = output_of::<T>(batch * tokens * width, |output| {
            weights = gradients::norm_and_rotate::<T>(
            InstructionSet::in_use(),
            [rows(&gradient), rows(&projected)],
            elements(&weight),
            eps as f32,
            [elements(&cos), elements(&sin)],
            pairs, output);
        });
        [
            Some(to_flex(tensor(output, [batch, tokens, width]))),
            Some(sums(weights, [head_dim], weight_dtype)),
        ]
    })
}

/// Gradients of hidden states, shift and scale.
pub(in crate::kernels) fn modulated_norm(
    gradient: Tensor<Flex, 3>,
    hidden_states: Tensor<Flex, 3>,
    scale: Tensor<Flex, 3>,
    eps: f64,
) -> [Option<FlexTensor>; 3] {
    let dtype = hidden_states.dtype();
    let dims @ [batch, _, width] = hidden_states.dims();
    let [items, ..] = scale.dims();
    by_supported_dtype!(dtype, T => {
        let [gradient, hidden_states, scale] = [gradient, hidden_states, scale].map(dense_rows);
        let mut both = Vec::new();
        let output = output_of::<T>(dims.iter().product(), |output| {
            both = gradients::modulated_norm::<T>(
            InstructionSet::in_use(),
            rows(&gradient),
            rows(&hidden_states),
            per_batch(&scale),
            eps as f32, output);
        });
        let both = tensor::<f32, 3>(both, [batch, 2, width]);
        let part = |index| Some(to_flex(of_items(both.clone().narrow(1, index, 1), items).cast(dtype)));
        [Some(to_flex(tensor(output, dims))), part(0), part(1)]
    })
}

/// Gradients of input and weight.
pub(in crate::kernels) fn rms_norm<const D: usize>(
    gradient: Tensor<Flex, D>,
    input: Tensor<Flex, D>,
    weight: Tensor<Flex, 1>,
    eps: f64,
) -> [Option<FlexTensor>; 2] {
    let dtype = input.dtype();
    let weight_dtype = weight.dtype();
    let dims = input.dims();
    by_supported_dtype!(dtype, T => {
        let (gradient, input) = (contiguous(gradient), contiguous(input));
        let weight = contiguous(weight.cast(dtype));
        let mut weights = Vec::new();
        let output = output_of::<T>(dims.iter().product(), |output| {
            weights = gradients::rms_norm::<T>(
            InstructionSet::in_use(),
            Rows::contiguous(elements(&gradient), dims[D - 1]),
            Rows::contiguous(elements(&input), dims[D - 1]),
            elements(&weight),
            eps as f32, output);
        });
        [
            Some(to_flex(tensor(output, dims))),
            Some(sums(weights, [dims[D - 1]], weight_dtype)),
        ]
    })
}

/// Gradients of gate and up.
pub(in crate::kernels) fn swiglu(
    gradient: Tensor<Flex, 3>,
    gate: Tensor<Flex, 3>,
    up: Tensor<Flex, 3>,
) -> [Option<FlexTensor>; 2] {
    let dims = gate.dims();
    by_supported_dtype!(gate.dtype(), T => {
        let [gradient, gate, up] = [gradient, gate, up].map(dense_rows);
        let length = dims.iter().product();
        let mut ups = Vec::new();
        let gates = output_of::<T>(length, |gates| {
            ups = output_of::<T>(length, |ups| {
                gradients::swiglu::<T>(
            InstructionSet::in_use(),
            rows(&gradient),
            rows(&gate),
            rows(&up), [gates, ups]);
            });
        });
        [gates, ups].map(|values| Some(to_flex(tensor(values, dims))))
    })
}

/// Gradients of gate and update; that of the residual is the output's.
pub(in crate::kernels) fn add_gated(
    gradient: Tensor<Flex, 3>,
    gate: Tensor<Flex, 3>,
    update: Tensor<Flex, 3>,
) -> [Option<FlexTensor>; 2] {
    let dtype = update.dtype();
    let dims @ [batch, _, width] = update.dims();
    let [items, ..] = gate.dims();
    by_supported_dtype!(dtype, T => {
        let [gradient, gate, update] = [gradient, gate, update].map(dense_rows);
        let mut gates = Vec::new();
        let output = output_of::<T>(dims.iter().product(), |output| {
            gates = gradients::add_gated::<T>(
            InstructionSet::in_use(),
            rows(&gradient),
            per_batch(&gate),
            rows(&update), output);
        });
        let gates = of_items(tensor::<f32, 3>(gates, [batch, 1, width]), items).cast(dtype);
        [Some(to_flex(gates)), Some(to_flex(tensor(output, dims)))]
    })
}

/// Gradients of input, weight and bias.
pub(in crate::kernels) fn group_norm(
    gradient: Tensor<Flex, 4>,
    input: Tensor<Flex, 4>,
    [weight, bias]: [Tensor<Flex, 1>; 2],
    groups: usize,
    eps: f64,
    activation: Activation,
) -> [Option<FlexTensor>; 3] {
    let dtype = input.dtype();
    let weight_dtype = weight.dtype();
    let dims @ [_, channels, height, width] = input.dims();
    by_supported_dtype!(dtype, T => {
        let (gradient, input) = (contiguous(gradient), contiguous(input));
        let (weight, bias) = (contiguous(weight.cast(dtype)), contiguous(bias.cast(dtype)));
        let mut output = zeros::<T>(dims.iter().product());
        let mut weights = gradients::group_norm::<T>(
            InstructionSet::in_use(),
            [elements(&gradient), elements(&input)],
            [groups, channels, height * width],
            [elements(&weight), elements(&bias)],
            eps as f32,
            activation,
            &mut output,
        );
        let biases = weights.split_off(channels);
        [
            Some(to_flex(tensor(output, dims))),
            Some(sums(weights, [channels], weight_dtype)),
            Some(sums(biases, [channels], weight_dtype)),
        ]
    })
}

/// Gradients of input, weight and bias of a convolution with this stride, and this padding before
/// and after the input.
pub(in crate::kernels) fn convolution(
    gradient: Tensor<Flex, 4>,
    input: Tensor<Flex, 4>,
    weight: Tensor<Flex, 4>,
    (stride, padding): (usize, [usize; 2]),
    [input_wanted, weight_wanted, bias_wanted]: [bool; 3],
) -> [Option<FlexTensor>; 3] {
    let set = InstructionSet::in_use();
    let dtype = input.dtype();
    let dims @ [batch, channels, ..] = input.dims();
    let [outputs, _, kernel, _] = weight.dims();
    let shape = super::convolution_shape(&input, &weight, stride, padding);
    let keeps_size = matches!((kernel, stride, padding), (3, 1, [1, 1]) | (1, 1, [0, 0]));
    let [gradient_f32, input] = [gradient.clone(), input].map(|t| contiguous(t.cast(DType::F32)));
    let (dy, x) = (elements::<f32>(&gradient_f32), elements::<f32>(&input));
    let input_gradient = input_wanted.then(|| {
        if keeps_size {
            // Turned by half a circle, with inputs and outputs swapped, the weight leads back.
            let weight = weight.clone().flip([2, 3]).swap_dims(0, 1);
            let bias = Tensor::zeros([channels], (&weight.device(), dtype));
            return to_flex(super::convolution(gradient, weight, bias, 1, kernel / 2));
        }
        let weight = contiguous(weight.clone().cast(DType::F32));
        let values = gradients::convolution_input(set, [dy, elements(&weight)], shape);
        sums(values, dims, dtype)
    });
    let weight_gradient = weight_wanted.then(|| {
        let values = gradients::convolution_weight(set, [dy, x], shape);
        sums(values, [outputs, channels, kernel, kernel], dtype)
    });
    let bias_gradient = bias_wanted.then(|| {
        let [height, width] = shape.output_size();
        let values = gradients::convolution_bias(dy, [batch, outputs, height * width]);
        sums(values, [outputs], dtype)
    });
    [input_gradient, weight_gradient, bias_gradient]
}

/// Gradient of the input of [`double_size`](super::double_size).
pub(in crate::kernels) fn double_size(gradient: Tensor<Flex, 4>) -> Option<FlexTensor> {
    let [batch, channels, height, width] = gradient.dims();
    let dims = [batch, channels, height / 2, width / 2];
    by_supported_dtype!(gradient.dtype(), T => {
        let gradient = contiguous(gradient);
        let output = output_of::<T>(dims.iter().product(), |output| {
            crate::cpu::add_blocks(elements(&gradient), width / 2, output);
        });
        Some(to_flex(tensor(output, dims)))
    })
}

fn gradient_dtype<T: Element + burn::tensor::Element>() -> DType {
    T::dtype()
}

/// Converts sums to a tensor of the parameter's dtype.
fn sums<const D: usize>(values: Vec<f32>, dims: [usize; D], dtype: DType) -> FlexTensor {
    to_flex(tensor(values, dims).cast(dtype))
}

/// Adds up the batch if one operand served all of its items.
fn of_items(sums: Tensor<Flex, 3>, items: usize) -> Tensor<Flex, 3> {
    if items == 1 && sums.dims()[0] > 1 {
        sums.sum_dim(0)
    } else {
        sums
    }
}
