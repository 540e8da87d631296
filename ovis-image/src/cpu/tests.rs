//! Tests of products, rows and attention on every instruction set of this CPU.

use half::{bf16, f16};

use super::attention::{AttentionShape, Heads, attention};
use super::element::Element;
use super::gemm::{Bias, product};
use super::instruction_set::InstructionSet;
use super::panel::Matrix;
use super::rows::{Rows, add_gated, group_norm, modulated_norm, norm_and_rotate, rms_norm, swiglu};
use super::testing::{random, relative_error};
use crate::ops::{Activation, Pairs};

fn check_product<T: Element>([m, n, k]: [usize; 3], limit: f64) {
    let (left, right) = (random::<T>(m * k, 1), random::<T>(n * k, 2));
    let bias = random::<T>(n, 3);
    let value = |values: &[T], index: usize| f64::from(values[index].to_f32());
    let expected: Vec<f64> = (0..m * n)
        .map(|index| {
            let (row, column) = (index / n, index % n);
            let terms = (0..k).map(|i| value(&left, row * k + i) * value(&right, column * k + i));
            terms.sum::<f64>() + value(&bias, column)
        })
        .collect();
    for set in InstructionSet::available() {
        let mut output = vec![T::from_f32(0.0); m * n];
        let (left, right) = (
            Matrix::contiguous(&left, [m, k]),
            Matrix::contiguous(&right, [n, k]),
        );
        product(set, &left, &right, Bias::Columns(&bias), &mut output);
        let error = relative_error(&output, &expected);
        assert!(error < limit, "{m}x{n}x{k} on {set:?}: {error:e}");
    }
}

#[test]
fn products_with_every_height_of_a_tile() {
    for rows in 1..=26 {
        check_product::<f32>([rows, 33, 9], 1e-6);
    }
}

#[test]
fn products_on_every_instruction_set() {
    for sizes in [[1, 1, 1], [15, 33, 17], [14, 64, 32], [31, 70, 131]] {
        check_product::<f32>(sizes, 1e-6);
        // The result is rounded to bf16, which adds half a unit of 2^-8.
        check_product::<bf16>(sizes, 3e-3);
        check_product::<f16>(sizes, 4e-4);
    }
}

/// Checks the product of matrices in any layout, as gradients of weights and inputs need them.
fn check_layouts<T: Element>([m, n, k]: [usize; 3], limit: f64) {
    let value = |values: &[T], index: usize| f64::from(values[index].to_f32());
    for (left_strides, right_strides) in [([k, 1], [1, n]), ([1, m], [k, 1]), ([1, m], [1, n])] {
        let (left, right) = (random::<T>(m * k, 1), random::<T>(n * k, 2));
        let expected: Vec<f64> = (0..m * n)
            .map(|index| {
                let (row, column) = (index / n, index % n);
                let term = |i: usize| {
                    value(&left, row * left_strides[0] + i * left_strides[1])
                        * value(&right, column * right_strides[0] + i * right_strides[1])
                };
                (0..k).map(term).sum()
            })
            .collect();
        let left = Matrix::new(&left, [m, k], left_strides);
        let right = Matrix::new(&right, [n, k], right_strides);
        for set in InstructionSet::available() {
            let mut output = vec![T::from_f32(f32::NAN); m * n];
            product(set, &left, &right, Bias::None, &mut output);
            let error = relative_error(&output, &expected);
            assert!(
                error < limit,
                "{left_strides:?} {right_strides:?} on {set}: {error:e}"
            );
        }
    }
}

#[test]
fn products_of_transposed_matrices() {
    for sizes in [[15, 33, 17], [31, 70, 131]] {
        check_layouts::<f32>(sizes, 1e-6);
        check_layouts::<bf16>(sizes, 3e-3);
        check_layouts::<f16>(sizes, 4e-4);
    }
}

/// Checks that every instruction set gives the output of the portable one.
fn check_rows<T: Element>(width: usize, limit: f64, run: impl Fn(InstructionSet, &[T], &mut [T])) {
    const ROWS: usize = 5;
    let input = random::<T>(ROWS * width, 7);
    let mut expected = vec![T::from_f32(f32::NAN); ROWS * width];
    run(InstructionSet::Portable, &input, &mut expected);
    let expected: Vec<f64> = expected.iter().map(|x| f64::from(x.to_f32())).collect();
    for set in InstructionSet::available() {
        let mut output = vec![T::from_f32(f32::NAN); ROWS * width];
        run(set, &input, &mut output);
        let error = relative_error(&output, &expected);
        assert!(error <= limit, "{width} wide on {set}: {error:e}");
    }
}

/// `limit` is the rounding of `T`; sums in another order differ by a few units of f32 beside it.
fn check_all_rows<T: Element>(limit: f64) {
    for width in [2, 16, 30, 130] {
        let other = random::<T>(5 * width, 8);
        let weight = &other[..width];
        let one_row = Rows::contiguous(weight, width);
        check_rows::<T>(width, limit, |set, input, output| {
            modulated_norm(
                set,
                Rows::contiguous(input, width),
                one_row,
                one_row,
                1e-6,
                output,
            );
        });
        check_rows::<T>(width, limit, |set, input, output| {
            rms_norm(set, Rows::contiguous(input, width), weight, 1e-6, output);
        });
        check_rows::<T>(width, limit, |set, input, output| {
            swiglu(
                set,
                Rows::contiguous(input, width),
                Rows::contiguous(&other, width),
                output,
            );
        });
        check_rows::<T>(width, limit, |set, input, output| {
            add_gated(
                set,
                Rows::contiguous(input, width),
                one_row,
                Rows::contiguous(&other, width),
                output,
            );
        });
        check_rows::<T>(width, limit, |set, input, output| {
            let affine = [&other[..5], &other[width..width + 5]];
            group_norm(
                set,
                input,
                [5, 5, width],
                affine,
                1e-6,
                Activation::Silu,
                output,
            );
        });
        let angles = random::<f32>(5 * width / 2, 9);
        for pairs in [Pairs::Adjacent, Pairs::Halves] {
            check_rows::<T>(width, limit, |set, input, output| {
                norm_and_rotate(
                    set,
                    Rows::contiguous(input, width),
                    weight,
                    1e-6,
                    [&angles, &angles],
                    pairs,
                    output,
                );
            });
        }
    }
}

#[test]
fn rows_are_the_portable_ones_on_every_instruction_set() {
    check_all_rows::<f32>(1e-6);
    check_all_rows::<bf16>(2e-3);
    check_all_rows::<f16>(3e-4);
}

/// Computes attention in f64, `[batch, queries, heads, head_dim]`.
fn exact_attention<T: Element>(
    [query, key, value]: [Heads<'_, T>; 3],
    shape: AttentionShape,
) -> Vec<f64> {
    let AttentionShape {
        batch,
        heads,
        kv_heads,
        queries,
        keys,
        head_dim,
        causal,
    } = shape;
    let at = |of: Heads<'_, T>, [batch, head, token, channel]: [usize; 4]| {
        let [batches, heads, tokens] = of.strides;
        f64::from(of.data[batch * batches + head * heads + token * tokens + channel].to_f32())
    };
    let mut output = Vec::new();
    for (item, position) in (0..batch * queries).map(|i| (i / queries, i % queries)) {
        for head in 0..heads {
            let key_head = head * kv_heads / heads;
            let seen = if causal { keys.min(position + 1) } else { keys };
            let score = |k: usize| -> f64 {
                let terms = (0..head_dim).map(|c| {
                    at(query, [item, head, position, c]) * at(key, [item, key_head, k, c])
                });
                terms.sum::<f64>() / (head_dim as f64).sqrt()
            };
            let scores: Vec<f64> = (0..seen).map(score).collect();
            let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|s| (s - largest).exp()).collect();
            let total: f64 = weights.iter().sum();
            output.extend((0..head_dim).map(|c| {
                let terms = weights.iter().enumerate();
                let terms = terms.map(|(k, w)| w * at(value, [item, key_head, k, c]));
                terms.sum::<f64>() / total
            }));
        }
    }
    output
}

/// Checks attention with keys that grow along the tokens by `growth` each.
fn check_attention<T: Element>(shape: AttentionShape, growth: f32, limit: f64) {
    let AttentionShape {
        batch,
        heads,
        kv_heads,
        queries,
        keys,
        head_dim,
        ..
    } = shape;
    // Heads are views into rows that are wider, like those of a fused projection.
    let width = (heads + 2 * kv_heads) * head_dim + 3;
    let mut data = [queries, keys, keys].map(|tokens| random::<T>(batch * tokens * width, 7));
    for (index, value) in data[1].iter_mut().enumerate() {
        let token = index / width % keys;
        *value = T::from_f32(value.to_f32() * (1.0 + growth * token as f32));
    }
    let first = [0, heads, heads + kv_heads].map(|head| head * head_dim);
    let [query, key, value] = [(0, queries), (1, keys), (2, keys)].map(|(i, tokens)| Heads {
        data: &data[i][first[i]..],
        strides: [tokens * width, head_dim, width],
    });
    let expected = exact_attention([query, key, value], shape);
    for set in InstructionSet::available() {
        let mut output = vec![T::from_f32(f32::NAN); expected.len()];
        attention(set, query, key, value, shape, &mut output);
        let error = relative_error(&output, &expected);
        assert!(error < limit, "{shape:?} on {set:?}: {error:e}");
    }
}

#[test]
fn attention_on_every_instruction_set() {
    // Batch, heads, heads of keys, queries, keys, head_dim: single and odd numbers, more than one
    // block of keys, and more heads of keys than threads take whole.
    for [batch, heads, kv_heads, queries, keys, head_dim] in [
        [1, 1, 1, 1, 1, 1],
        [1, 2, 1, 5, 97, 24],
        [2, 4, 2, 33, 33, 17],
        [1, 1, 1, 70, 257, 40],
        [1, 3, 3, 129, 600, 64],
        [3, 12, 6, 67, 45, 128],
    ] {
        for causal in [false, true] {
            let shape = AttentionShape {
                batch,
                heads,
                kv_heads,
                queries,
                keys,
                head_dim,
                causal,
            };
            check_attention::<f32>(shape, 0.0, 1e-6);
            // Weights and the result are rounded to bf16, which adds half a unit of 2^-8 each.
            check_attention::<bf16>(shape, 0.0, 4e-3);
        }
    }
}

/// Checks that weights shrink when a later block of keys has larger scores, and that scores beyond
/// the range of an exponential stay finite.
#[test]
fn attention_follows_maxima_that_grow() {
    let shape = AttentionShape {
        batch: 1,
        heads: 1,
        kv_heads: 1,
        queries: 40,
        keys: 900,
        head_dim: 16,
        causal: false,
    };
    // Scores of several hundred are rounded to 3e-5.
    check_attention::<f32>(shape, 1.0, 1e-4);
}
