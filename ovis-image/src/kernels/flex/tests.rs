//! Tests of every kernel against the portable implementation of its operation. In f32 both are
//! within a few hundred roundings of the exact result. In bf16 the kernels round once, and the
//! portable implementation rounds after each operation.

use burn::tensor::{DType, Distribution, Tensor};
use burn_flex::{Flex, FlexDevice};

use crate::kernels;
use crate::ops::{self, Activation, AttentionMask, Pairs, RotaryTable};

const DTYPES: [(DType, f64); 3] = [(DType::F32, 3e-6), (DType::F16, 3e-3), (DType::BF16, 2e-2)];

fn random<const D: usize>(shape: [usize; D], dtype: DType) -> Tensor<Flex, D> {
    Tensor::<Flex, D>::random(
        shape,
        Distribution::Normal(0.0, 1.0),
        (&FlexDevice, DType::F32),
    )
    .cast(dtype)
}

fn assert_close<const D: usize>(actual: Tensor<Flex, D>, expected: Tensor<Flex, D>, limit: f64) {
    assert_eq!(actual.dims(), expected.dims());
    assert_eq!(actual.dtype(), expected.dtype());
    let values =
        |tensor: Tensor<Flex, D>| -> Vec<f64> { tensor.into_data().iter::<f64>().collect() };
    let (actual, expected) = (values(actual), values(expected));
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut actual.iter().zip(&expected).map(|(a, b)| a - b));
    let error = difference / norm(&mut expected.iter().copied());
    assert!(error <= limit, "relative error {error:e} above {limit:e}");
}

#[test]
fn linear_layer() {
    // Odd sizes, a single row, and a k larger than a block.
    for [rows, inner, outer] in [[1, 7, 5], [29, 33, 65], [40, 96, 64], [3, 9001, 34]] {
        for (dtype, limit) in DTYPES {
            let (input, weight) = (random([rows, inner], dtype), random([outer, inner], dtype));
            let bias = random([outer], dtype);
            assert_close(
                kernels::linear_layer::<Flex>(input.clone(), weight.clone(), Some(bias.clone())),
                ops::linear(input.clone(), weight.clone(), Some(bias)),
                limit,
            );
            assert_close(
                kernels::linear_layer::<Flex>(input.clone(), weight.clone(), None),
                ops::linear(input, weight, None),
                limit,
            );
        }
    }
}

#[test]
fn linear_layer_of_views() {
    let input = random([64, 20], DType::F32).transpose().narrow(1, 3, 40);
    let weight = random([9, 50], DType::F32).narrow(1, 5, 40);
    assert_close(
        kernels::linear_layer::<Flex>(input.clone(), weight.clone(), None),
        ops::linear(input, weight, None),
        3e-6,
    );
}

#[test]
fn multi_head_attention() {
    // heads, kv_heads, queries, keys, head_dim
    for [heads, kv_heads, queries, keys, head_dim] in [
        [2, 2, 70, 70, 16],
        [4, 1, 33, 33, 32],
        [1, 1, 5, 97, 24],
        [6, 3, 100, 100, 128],
    ] {
        for (dtype, limit) in DTYPES {
            let query = random([2, heads, queries, head_dim], dtype);
            let key = random([2, kv_heads, keys, head_dim], dtype);
            let value = random([2, kv_heads, keys, head_dim], dtype);
            let masks = if queries == keys {
                vec![AttentionMask::Full, AttentionMask::Causal]
            } else {
                vec![AttentionMask::Full]
            };
            for mask in masks {
                assert_close(
                    kernels::multi_head_attention::<Flex>(
                        query.clone(),
                        key.clone(),
                        value.clone(),
                        mask.clone(),
                    ),
                    ops::attention(query.clone(), key.clone(), value.clone(), mask),
                    limit,
                );
            }
        }
    }
}

#[test]
fn attention_of_large_scores_stays_finite() {
    let query = random([1, 1, 40, 16], DType::F32) * 1e4;
    let output = kernels::multi_head_attention::<Flex>(
        query.clone(),
        query.clone(),
        query.clone(),
        AttentionMask::Full,
    );
    assert_close(
        output,
        ops::attention(query.clone(), query.clone(), query, AttentionMask::Full),
        1e-5,
    );
}

#[test]
fn heads_are_cut_normalized_and_rotated() {
    let positions: Vec<[f64; 1]> = (0..13).map(|i| [f64::from(i)]).collect();
    let rope = RotaryTable::from_positions(&positions, &[16], 1e4, &FlexDevice);
    for (dtype, limit) in DTYPES {
        // A view into a wider projection, like the fused one.
        let projected = random([2, 13, 3 * 64], dtype).narrow(2, 64, 64);
        let weight = random([16], dtype);
        for pairs in [Pairs::Adjacent, Pairs::Halves] {
            assert_close(
                kernels::norm_and_rotate::<Flex>(
                    projected.clone(),
                    weight.clone(),
                    1e-6,
                    &rope,
                    pairs,
                ),
                ops::norm_and_rotate(projected.clone(), weight.clone(), 1e-6, &rope, pairs),
                limit,
            );
        }
        assert_close(
            kernels::split_heads::<Flex>(projected.clone(), 16),
            ops::split_heads(projected, 16),
            0.0,
        );
    }
}

#[test]
fn norms() {
    for (dtype, limit) in DTYPES {
        let input = random([2, 11, 50], dtype);
        let params = random([2, 1, 150], dtype);
        let (shift, scale) = (params.clone().narrow(2, 0, 50), params.narrow(2, 50, 50));
        // One modulation for each batch item, and one for all of them.
        for items in [2, 1] {
            let (shift, scale) = (
                shift.clone().narrow(0, 0, items),
                scale.clone().narrow(0, 0, items),
            );
            assert_close(
                kernels::modulated_norm::<Flex>(input.clone(), shift.clone(), scale.clone(), 1e-6),
                ops::modulated_norm(input.clone(), shift, scale, 1e-6),
                limit,
            );
        }
        let weight = random([50], dtype);
        assert_close(
            kernels::rms_norm::<Flex, _>(input.clone(), weight.clone(), 1e-6),
            ops::rms_norm(input, weight, 1e-6),
            limit,
        );
    }
}

#[test]
fn a_norm_of_a_large_offset_keeps_its_digits() {
    let input = random([1, 4, 640], DType::F32) + 1000.0;
    let zeros = Tensor::zeros([1, 1, 640], &FlexDevice);
    assert_close(
        kernels::modulated_norm::<Flex>(input.clone(), zeros.clone(), zeros.clone(), 1e-6),
        ops::modulated_norm(input, zeros.clone(), zeros, 1e-6),
        // The sum is 640,000, where f32 neighbors are 1/16 apart: 1e-4 of the mean on either side.
        3e-4,
    );
}

#[test]
fn gating() {
    for (dtype, limit) in DTYPES {
        let projected = random([2, 9, 120], dtype);
        let (gate, up) = (
            projected.clone().narrow(2, 0, 40),
            projected.narrow(2, 40, 40),
        );
        assert_close(
            kernels::swiglu::<Flex>(gate.clone(), up.clone()),
            ops::swiglu(gate.clone(), up.clone()),
            limit,
        );
        for items in [2, 1] {
            let scale = random([items, 1, 40], dtype);
            assert_close(
                kernels::add_gated::<Flex>(gate.clone(), scale.clone(), up.clone()),
                ops::add_gated(gate.clone(), scale, up.clone()),
                limit,
            );
        }
    }
}

#[test]
fn group_norm() {
    for (dtype, limit) in DTYPES {
        let input = random([2, 12, 5, 7], dtype);
        let (weight, bias) = (random([12], dtype), random([12], dtype));
        for activation in [Activation::Identity, Activation::Silu] {
            assert_close(
                kernels::group_norm::<Flex>(
                    input.clone(),
                    weight.clone(),
                    bias.clone(),
                    4,
                    1e-6,
                    activation,
                ),
                ops::group_norm(
                    input.clone(),
                    weight.clone(),
                    bias.clone(),
                    4,
                    1e-6,
                    activation,
                ),
                limit,
            );
        }
    }
}

#[test]
fn convolution() {
    // Dimensions are (in, out, height, width): smaller than a tile, odd, several panels, few and
    // many channels.
    for [inputs, outputs, height, width] in [
        [1, 1, 1, 1],
        [3, 5, 7, 3],
        [16, 40, 9, 31],
        [130, 3, 26, 26],
        [20, 33, 4, 64],
    ] {
        for (dtype, limit) in DTYPES {
            let input = random([2, inputs, height, width], dtype);
            let bias = random([outputs], dtype);
            for [kernel, stride, padding] in [[3, 1, 1], [1, 1, 0], [3, 2, 1]] {
                let weight = random([outputs, inputs, kernel, kernel], dtype);
                assert_close(
                    kernels::convolution::<Flex>(
                        input.clone(),
                        weight.clone(),
                        bias.clone(),
                        stride,
                        padding,
                    ),
                    ops::conv2d(input.clone(), weight, bias.clone(), stride, padding),
                    limit,
                );
            }
        }
    }
}

#[cfg(feature = "autodiff")]
#[test]
fn steps_with_moments_in_8_bits() {
    use crate::ops::{AdamW8bitTensors, AdamWStep, QuantizedMoment};

    // More than a task, and a block that is not full.
    let length = 64 * 256 + 300;
    let step = AdamWStep {
        gradient_scale: 0.7,
        decay: 0.999,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-8,
        step_size: 1e-2,
        second_correction: 0.3,
    };
    let start = || AdamW8bitTensors {
        parameter: Tensor::<Flex, 1>::ones([length], &FlexDevice),
        first_moment: QuantizedMoment::zeros(length, &FlexDevice),
        second_moment: QuantizedMoment::zeros(length, &FlexDevice),
    };
    let (mut fast, mut plain) = (start(), start());
    for _ in 0..3 {
        let gradient = random([length], DType::F32);
        fast = kernels::adamw_8bit(fast, gradient.clone(), step);
        plain = ops::adamw_8bit(plain, gradient, step);
        // Both round in the same places.
        assert_eq!(fast.parameter.to_data(), plain.parameter.to_data());
        for (fast, plain) in [
            (&fast.first_moment, &plain.first_moment),
            (&fast.second_moment, &plain.second_moment),
        ] {
            assert_eq!(fast.codes.to_data(), plain.codes.to_data());
            assert_eq!(fast.scales.to_data(), plain.scales.to_data());
        }
    }
}

/// Numbers of all sizes, with the exponents 2^-100 to 2^100.
#[cfg(feature = "autodiff")]
fn of_all_sizes(count: usize) -> Tensor<Flex, 1> {
    let exponents = Tensor::<Flex, 1>::random(
        [count],
        Distribution::Uniform(-69.0, 69.0),
        (&FlexDevice, DType::F32),
    );
    random([count], DType::F32) * exponents.exp()
}

#[cfg(feature = "autodiff")]
#[test]
fn stochastic_rounding() {
    let powers: Vec<f32> = (-100..100).map(|exponent| 2f32.powi(exponent)).collect();
    let powers = Tensor::<Flex, 1>::from_data(&powers[..], (&FlexDevice, DType::F32));
    for values in [
        of_all_sizes(40_000),
        // Where the distance of numbers changes.
        powers.clone() * 1.001,
        -powers * 0.999,
        Tensor::from_data([0.0f32, f32::INFINITY, -1.0], (&FlexDevice, DType::F32)),
    ] {
        let bits = |tensor: Tensor<Flex, 1>| tensor.into_data();
        for key in [0, 1, 0x1234_5678_9abc_def0] {
            let fast = bits(kernels::stochastic_round(values.clone(), key));
            assert_eq!(fast, bits(ops::stochastic_round(values.clone(), key)));
        }
        // Numbers of bf16 stay what they are.
        let exact = values.cast(DType::BF16);
        let rounded = kernels::stochastic_round(exact.clone().cast(DType::F32), 5);
        assert_eq!(bits(rounded), bits(exact));
    }
    let nan = Tensor::<Flex, 1>::from_data([f32::NAN], (&FlexDevice, DType::F32));
    assert!(kernels::stochastic_round(nan, 3).into_scalar().is_nan());
}

#[cfg(feature = "autodiff")]
#[test]
fn stochastic_rounding_is_right_on_average() {
    const COUNT: usize = 1 << 16;
    for value in [1.0 + 0.3 / 128.0, -3.7 - 0.01, 0.1, 1.0 - 0.1 / 256.0] {
        let values = Tensor::<Flex, 1>::full([COUNT], value, (&FlexDevice, DType::F32));
        let exact = f64::from(value as f32);
        let near = |exact: f64| {
            let ulp = 2f64.powi(exact.abs().log2().floor() as i32 - 7);
            move |rounded: f64| (rounded - exact).abs() < ulp
        };
        for key in 0..8 {
            let rounded = kernels::stochastic_round(values.clone(), key);
            let rounded: Vec<f64> = rounded.into_data().iter::<f64>().collect();
            assert!(rounded.iter().copied().all(near(exact)), "{exact}");
            let mean = rounded.iter().sum::<f64>() / COUNT as f64;
            // The deviation of one is at most half a distance, and that of the mean 1/256 of this.
            let ulp = 2f64.powi(exact.abs().log2().floor() as i32 - 7);
            let limit = 4.0 * (0.5 * ulp) / (COUNT as f64).sqrt();
            assert!((mean - exact).abs() < limit, "{exact}: {mean}");
        }
    }
}
