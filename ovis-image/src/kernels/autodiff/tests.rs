//! Tests of every gradient against the one that Burn derives from the portable implementation.

use burn::tensor::{DType, Distribution, Tensor};
use burn_flex::{Flex, FlexDevice};

use super::node::Recorded;
use crate::kernels;
use crate::ops::{self, Activation, AttentionMask, Pairs, RotaryTable};

fn random<const D: usize>(dims: [usize; D], dtype: DType) -> Tensor<Flex, D> {
    let normal = Distribution::Normal(0.0, 1.0);
    Tensor::<Flex, D>::random(dims, normal, (&FlexDevice, DType::F32)).cast(dtype)
}

/// Computes the gradients of a function of several operands, flattened, for a fixed random gradient
/// of its output.
macro_rules! gradients {
    ($operands:expr, $weights:expr, |$($name:ident),+| $body:expr) => {{
        let ($($name),+) = $operands.clone();
        $(let $name = Tensor::<Recorded, _>::from_inner($name).require_grad();)+
        let output = { $(let $name = $name.clone();)+ $body };
        let weights = Tensor::<Recorded, _>::from_inner($weights.clone());
        let gradients = (output.cast(DType::F32) * weights).sum().backward();
        vec![$(values($name.grad(&gradients).expect("a gradient"))),+]
    }};
}

fn values<const D: usize>(tensor: Tensor<Flex, D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

fn assert_close(actual: &[Vec<f64>], expected: &[Vec<f64>], limit: f64) {
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        assert_eq!(actual.len(), expected.len());
        let norm =
            |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
        let difference = norm(&mut actual.iter().zip(expected).map(|(a, b)| a - b));
        let error = difference / norm(&mut expected.iter().copied()).max(1e-30);
        assert!(
            error <= limit,
            "operand {index}: relative error {error:e} above {limit:e}"
        );
    }
}

/// Compares two functions' gradients in f32, and the kernel's in bf16 with the portable one's in
/// f32.
macro_rules! check {
    ([$($dims:expr),+], $output:expr, |$($name:ident),+| $kernel:expr, $plain:expr) => {{
        let operands = ($(random($dims, DType::F32)),+);
        let weights = random($output, DType::F32);
        let expected = gradients!(operands, weights, |$($name),+| $plain);
        let actual = gradients!(operands, weights, |$($name),+| $kernel);
        assert_close(&actual, &expected, 1e-5);
        // bf16 rounds operands and results to 2^-9, and norms divide by values that were rounded.
        let operands = { let ($($name),+) = operands; ($($name.cast(DType::BF16)),+) };
        let actual = gradients!(operands, weights, |$($name),+| $kernel);
        assert_close(&actual, &expected, 3e-2);
    }};
}

#[test]
fn linear_layer() {
    for [rows, inner, outer] in [[1, 7, 5], [29, 33, 65], [300, 96, 64]] {
        check!(
            [[rows, inner], [outer, inner], [outer]],
            [rows, outer],
            |input, weight, bias| kernels::linear_layer(input, weight, Some(bias)),
            ops::linear(input, weight, Some(bias))
        );
    }
}

#[test]
fn linear_layer_without_a_bias() {
    check!(
        [[9, 20], [12, 20]],
        [9, 12],
        |input, weight| kernels::linear_layer(input, weight, None),
        ops::linear(input, weight, None)
    );
}

#[test]
fn multi_head_attention() {
    // heads, kv_heads, queries, keys, head_dim
    for [heads, kv_heads, queries, keys, head_dim] in [
        [2, 2, 70, 70, 16],
        [4, 1, 33, 33, 32],
        [1, 1, 5, 97, 24],
        [3, 3, 200, 130, 64],
    ] {
        let (q, k) = ([2, heads, queries, head_dim], [2, kv_heads, keys, head_dim]);
        check!(
            [q, k, k],
            q,
            |query, key, value| {
                kernels::multi_head_attention(query, key, value, AttentionMask::Full)
            },
            ops::attention(query, key, value, AttentionMask::Full)
        );
        if queries == keys {
            check!(
                [q, k, k],
                q,
                |query, key, value| {
                    kernels::multi_head_attention(query, key, value, AttentionMask::Causal)
                },
                ops::attention(query, key, value, AttentionMask::Causal)
            );
        }
    }
}

#[test]
fn norm_and_rotate() {
    let positions: Vec<[f64; 1]> = (0..7).map(|token| [f64::from(token)]).collect();
    // The last is wider than the kernel's heads.
    for (head_dim, pairs) in [
        (16, Pairs::Adjacent),
        (24, Pairs::Halves),
        (514, Pairs::Halves),
    ] {
        let rope =
            RotaryTable::<Recorded>::from_positions(&positions, &[head_dim], 100.0, &FlexDevice);
        check!(
            [[3, 7, 2 * head_dim], [head_dim]],
            [3, 2, 7, head_dim],
            |projected, weight| kernels::norm_and_rotate(projected, weight, 1e-6, &rope, pairs),
            ops::norm_and_rotate(projected, weight, 1e-6, &rope, pairs)
        );
    }
}

#[test]
fn modulated_norm() {
    for items in [1, 3] {
        check!(
            [[3, 70, 40], [items, 1, 40], [items, 1, 40]],
            [3, 70, 40],
            |hidden_states, shift, scale| kernels::modulated_norm(
                hidden_states,
                shift,
                scale,
                1e-6
            ),
            ops::modulated_norm(hidden_states, shift, scale, 1e-6)
        );
    }
}

#[test]
fn rms_norm() {
    check!(
        [[3, 70, 40], [40]],
        [3, 70, 40],
        |input, weight| kernels::rms_norm(input, weight, 1e-6),
        ops::rms_norm(input, weight, 1e-6)
    );
}

#[test]
fn swiglu() {
    check!(
        [[3, 70, 40], [3, 70, 40]],
        [3, 70, 40],
        |gate, up| kernels::swiglu(gate, up),
        ops::swiglu(gate, up)
    );
}

#[test]
fn add_gated() {
    for items in [1, 3] {
        check!(
            [[3, 70, 40], [items, 1, 40], [3, 70, 40]],
            [3, 70, 40],
            |residual, gate, update| kernels::add_gated(residual, gate, update),
            ops::add_gated(residual, gate, update)
        );
    }
}

#[test]
fn group_norm() {
    for activation in [Activation::Identity, Activation::Silu] {
        check!(
            [[2, 8, 9, 5], [8], [8]],
            [2, 8, 9, 5],
            |input, weight, bias| kernels::group_norm(input, weight, bias, 4, 1e-6, activation),
            ops::group_norm(input, weight, bias, 4, 1e-6, activation)
        );
    }
}

#[test]
fn convolution() {
    for (kernel, height, width) in [(1, 9, 5), (3, 9, 5), (3, 1, 1), (3, 40, 33)] {
        check!(
            [[2, 6, height, width], [5, 6, kernel, kernel], [5]],
            [2, 5, height, width],
            |input, weight, bias| kernels::convolution(input, weight, bias, 1, kernel / 2),
            ops::conv2d(input, weight, bias, 1, kernel / 2)
        );
    }
}

#[test]
fn convolution_with_strides_and_padding() {
    for (kernel, stride, padding, height, width) in [
        (3, 2, 0, 9, 7),
        (3, 2, 1, 8, 5),
        (4, 3, 2, 11, 6),
        (2, 2, 0, 40, 33),
    ] {
        let size = |side: usize| (side + 2 * padding - kernel) / stride + 1;
        check!(
            [[2, 6, height, width], [5, 6, kernel, kernel], [5]],
            [2, 5, size(height), size(width)],
            |input, weight, bias| kernels::convolution(input, weight, bias, stride, padding),
            ops::conv2d(input, weight, bias, stride, padding)
        );
    }
}

#[test]
fn a_convolution_that_halves() {
    for (height, width) in [(8, 6), (9, 7), (40, 34)] {
        check!(
            [[2, 6, height, width], [5, 6, 3, 3], [5]],
            [2, 5, (height - 2) / 2 + 1, (width - 2) / 2 + 1],
            |input, weight, bias| kernels::halving_convolution(input, weight, bias),
            ops::halving_convolution(input, weight, bias)
        );
    }
}

#[test]
fn a_size_that_doubles() {
    check!(
        [[2, 3, 5, 4], [2, 3, 10, 8]],
        [2, 3, 10, 8],
        |input, other| kernels::double_size(input) * other,
        ops::double_size(input) * other
    );
}

#[test]
fn parts_of_a_tensor() {
    check!(
        [[2, 3, 12], [2, 3, 5]],
        [2, 3, 5],
        |whole, other| {
            let [first, _, last] = kernels::split(whole, 2, [5, 2, 5]);
            first * other + last
        },
        {
            let [first, _, last] = ops::split(whole, 2, [5, 2, 5]);
            first * other + last
        }
    );
}

#[test]
fn a_part_that_is_not_used_has_a_gradient_of_zero() {
    let whole = Tensor::<Recorded, 2>::from_inner(random([2, 6], DType::F32)).require_grad();
    let [_, used] = kernels::split(whole.clone(), 1, [4, 2]);
    let gradients = used.sum().backward();
    let gradient = values(whole.grad(&gradients).unwrap());
    assert_eq!(gradient, [0., 0., 0., 0., 1., 1., 0., 0., 0., 0., 1., 1.]);
}

#[test]
fn operands_without_a_gradient_stay_without_one() {
    let input = Tensor::<Recorded, 2>::from_inner(random([4, 6], DType::F32));
    let weight = Tensor::<Recorded, 2>::from_inner(random([5, 6], DType::F32)).require_grad();
    let output = kernels::linear_layer(input.clone(), weight.clone(), None);
    let gradients = output.sum().backward();
    assert!(weight.grad(&gradients).is_some());
    assert!(input.grad(&gradients).is_none());
}

#[test]
fn joined_tensors() {
    check!(
        [[2, 3, 5], [2, 4, 5], [2, 7, 5]],
        [2, 7, 5],
        |first, second, other| kernels::join(first, second, 1) * other,
        Tensor::cat(vec![first, second], 1) * other
    );
    // Heads whose tokens stand together, and others.
    for swapped in [false, true] {
        let heads = |tensor: Tensor<Recorded, 4>| {
            if swapped {
                tensor.swap_dims(1, 2)
            } else {
                tensor
            }
        };
        let shape = |tokens| {
            if swapped {
                [2, tokens, 3, 8]
            } else {
                [2, 3, tokens, 8]
            }
        };
        check!(
            [shape(4), shape(5)],
            [2, 3, 9, 8],
            |first, second| kernels::join(heads(first), heads(second), 2),
            Tensor::cat(vec![heads(first), heads(second)], 2)
        );
    }
}

#[test]
fn flattened_rows() {
    // Whole, and a part of each axis.
    for (axis, length) in [(0, 4), (0, 2), (1, 3), (2, 4)] {
        let dims = {
            let mut dims = [4, 5, 6];
            dims[axis] = length;
            dims
        };
        let rows = [dims[0] * dims[1], dims[2]];
        check!(
            [[4, 5, 6], rows],
            rows,
            |input, other| kernels::flatten(input.narrow(axis, 0, length)) * other,
            input.narrow(axis, 0, length).reshape(rows) * other
        );
    }
}

#[test]
fn heads_are_split_and_joined() {
    check!(
        [[2, 7, 12], [2, 7, 12]],
        [2, 7, 12],
        |projected, other| kernels::join_heads(kernels::split_heads(projected, 4)) * other,
        projected * other
    );
    check!(
        [[2, 3, 7, 4], [2, 7, 12]],
        [2, 7, 12],
        |heads, other| kernels::join_heads(heads) * other,
        heads.swap_dims(1, 2).reshape([2, 7, 12]) * other
    );
}
