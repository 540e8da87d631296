//! Gradients of norms, rotation and gating, each in one pass over the data like the operations
//! themselves (`cpu/rows.rs`). Norms share this form: with `g` the gradient of the normalized
//! values `n = (x - mean) f`, that of `x` is `f (g - mean(g) - n mean(g n))`. An RMS norm lacks the
//! mean.

use rayon::prelude::*;

use super::sums::Passes;
use crate::cpu::element::Element;
use crate::cpu::instruction_set::InstructionSet;
use crate::cpu::output::Unwritten;
use crate::cpu::rows::{Rows, rms_factor};
use crate::cpu::vector::{exp, sum, vectorized};
use crate::ops::Pairs;

/// Number of elements per task of passes without sums.
const TASK_ELEMENTS: usize = 16 << 10;

/// Computes the gradient of the input of a modulated norm into `output`, and returns those of shift
/// and scale, `[outer][2][width]`.
pub(crate) fn modulated_norm<T: Element>(
    set: InstructionSet,
    gradient: Rows<'_, T>,
    input: Rows<'_, T>,
    scale: Rows<'_, T>,
    eps: f32,
    output: &mut Unwritten<T>,
) -> Vec<f32> {
    let width = input.width;
    assert!(
        gradient.width == width && scale.width == width,
        "widths of a norm"
    );
    let count = width as f32;
    let passes = Passes {
        outer: input.outer,
        inner: input.inner,
        width,
        sums: 2 * width,
    };
    passes.run(
        set,
        output,
        #[inline(always)]
        |index, output, sums| {
            let (x, dy) = (input.row(index), gradient.row(index));
            let scale = scale.row(index / input.inner);
            let (shifts, scales) = sums.split_at_mut(width);
            let mean = sum(x, |x| x) / count;
            let variance = sum(x, |x| (x - mean) * (x - mean)) / count;
            let factor = 1.0 / (variance + eps).sqrt();
            let (mut total, mut product) = ([0.0f32; 16], [0.0f32; 16]);
            for start in (0..width).step_by(16) {
                for lane in 0..16.min(width - start) {
                    let i = start + lane;
                    let dy = dy[i].to_f32();
                    let normalized = (x[i].to_f32() - mean) * factor;
                    shifts[i] += dy;
                    scales[i] += dy * normalized;
                    let g = dy * (scale[i].to_f32() + 1.0);
                    total[lane] += g;
                    product[lane] += g * normalized;
                }
            }
            let mean_g = total.iter().sum::<f32>() / count;
            let mean_gn = product.iter().sum::<f32>() / count;
            for (((out, x), dy), scale) in output.iter_mut().zip(x).zip(dy).zip(scale) {
                let normalized = (x.to_f32() - mean) * factor;
                let g = dy.to_f32() * (scale.to_f32() + 1.0);
                out.write(T::from_f32(factor * (g - mean_g - normalized * mean_gn)));
            }
        },
    )
}

/// Computes the gradient of the input of an RMS norm into `output`, and returns that of the weight.
pub(crate) fn rms_norm<T: Element>(
    set: InstructionSet,
    gradient: Rows<'_, T>,
    input: Rows<'_, T>,
    weight: &[T],
    eps: f32,
    output: &mut Unwritten<T>,
) -> Vec<f32> {
    let width = input.width;
    assert!(
        gradient.width == width && weight.len() == width,
        "widths of a norm"
    );
    let passes = Passes {
        outer: 1,
        inner: input.rows(),
        width,
        sums: width,
    };
    passes.run(
        set,
        output,
        #[inline(always)]
        |index, output, sums| {
            let dy = gradient.row(index);
            rms_row(
                |i| dy[i].to_f32(),
                input.row(index),
                weight,
                eps,
                output,
                sums,
            );
        },
    )
}

/// Computes the gradient of one RMS-normalized row.
#[inline(always)]
fn rms_row<T: Element>(
    gradient: impl Fn(usize) -> f32,
    x: &[T],
    weight: &[T],
    eps: f32,
    output: &mut Unwritten<T>,
    weights: &mut [f32],
) {
    let width = x.len();
    let (output, weights, weight) = (
        &mut output[..width],
        &mut weights[..width],
        &weight[..width],
    );
    let factor = rms_factor(x, eps);
    let mut product = [0.0f32; 16];
    for start in (0..width).step_by(16) {
        for (lane, product) in product.iter_mut().enumerate().take(width - start) {
            let i = start + lane;
            let normalized = x[i].to_f32() * factor;
            let dy = gradient(i);
            weights[i] += dy * normalized;
            *product += dy * weight[i].to_f32() * normalized;
        }
    }
    let mean = product.iter().sum::<f32>() / width as f32;
    for i in 0..width {
        let normalized = x[i].to_f32() * factor;
        let g = gradient(i) * weight[i].to_f32();
        output[i].write(T::from_f32(factor * (g - normalized * mean)));
    }
}

/// Widest head whose rotated gradient is kept on the stack.
pub(crate) const WIDEST_HEAD: usize = 512;

/// Computes the gradient of the projection from that of the normalized and rotated heads, into
/// `output` `[batch, tokens, heads * head_dim]`, and returns that of the norm's weight.
///
/// `gradient` has one row per (batch, token) in the order of `input`.
///
/// # Panics
/// Panics if heads are wider than [`WIDEST_HEAD`].
pub(crate) fn norm_and_rotate<T: Element>(
    set: InstructionSet,
    [gradient, input]: [Rows<'_, T>; 2],
    weight: &[T],
    eps: f32,
    [cos, sin]: [&[f32]; 2],
    pairs: Pairs,
    output: &mut Unwritten<T>,
) -> Vec<f32> {
    let head_dim = weight.len();
    assert!(head_dim <= WIDEST_HEAD, "heads wider than {WIDEST_HEAD}");
    let half = head_dim / 2;
    assert!(
        head_dim == 2 * half
            && input.width.is_multiple_of(head_dim)
            && gradient.width == input.width,
        "heads of a rotation"
    );
    let passes = Passes {
        outer: 1,
        inner: input.rows(),
        width: input.width,
        sums: head_dim,
    };
    passes.run(
        set,
        output,
        #[inline(always)]
        |index, output, sums| {
            let token = index % input.inner;
            let cos = &cos[token * half..(token + 1) * half];
            let sin = &sin[token * half..(token + 1) * half];
            let heads = input.row(index).chunks_exact(head_dim);
            let gradients = gradient.row(index).chunks_exact(head_dim);
            let heads = heads.zip(gradients).zip(output.chunks_exact_mut(head_dim));
            for ((head, gradient), output) in heads {
                let mut turned = [0.0f32; WIDEST_HEAD];
                for i in 0..half {
                    let (first, second) = match pairs {
                        Pairs::Adjacent => (2 * i, 2 * i + 1),
                        Pairs::Halves => (i, half + i),
                    };
                    let (a, b) = (gradient[first].to_f32(), gradient[second].to_f32());
                    turned[first] = a * cos[i] + b * sin[i];
                    turned[second] = b * cos[i] - a * sin[i];
                }
                rms_row(|i| turned[i], head, weight, eps, output, sums);
            }
        },
    )
}

/// Computes the gradients of gate and up of a SwiGLU.
pub(crate) fn swiglu<T: Element>(
    set: InstructionSet,
    gradient: Rows<'_, T>,
    gate: Rows<'_, T>,
    up: Rows<'_, T>,
    [gates, ups]: [&mut Unwritten<T>; 2],
) {
    let width = gate.width;
    assert!(
        width > 0
            && up.width == width
            && gradient.width == width
            && gates.len().is_multiple_of(width)
            && ups.len() == gates.len(),
        "sizes of a SwiGLU"
    );
    let rows = (TASK_ELEMENTS / width.max(1)).max(1);
    let chunk = (rows * width).max(1);
    gates
        .par_chunks_mut(chunk)
        .zip(ups.par_chunks_mut(chunk))
        .enumerate()
        .for_each(|(task, (gates, ups))| {
            vectorized(
                set,
                #[inline(always)]
                || {
                    let outputs = gates
                        .chunks_exact_mut(width)
                        .zip(ups.chunks_exact_mut(width));
                    for (index, (gates, ups)) in outputs.enumerate() {
                        let row = task * rows + index;
                        let (dy, gate, up) = (gradient.row(row), gate.row(row), up.row(row));
                        for i in 0..width {
                            let (dy, x) = (dy[i].to_f32(), gate[i].to_f32());
                            let sigmoid = 1.0 / (1.0 + exp(-x));
                            let silu = x * sigmoid;
                            ups[i].write(T::from_f32(dy * silu));
                            let slope = sigmoid + silu * (1.0 - sigmoid);
                            gates[i].write(T::from_f32(dy * up[i].to_f32() * slope));
                        }
                    }
                },
            );
        });
}

/// Computes the gradient of the update of a gated sum into `output`, and returns that of the gate,
/// `[outer][width]`.
pub(crate) fn add_gated<T: Element>(
    set: InstructionSet,
    gradient: Rows<'_, T>,
    gate: Rows<'_, T>,
    update: Rows<'_, T>,
    output: &mut Unwritten<T>,
) -> Vec<f32> {
    assert!(
        gate.width == update.width && gradient.width == update.width,
        "widths of a gated sum"
    );
    let passes = Passes {
        outer: update.outer,
        inner: update.inner,
        width: update.width,
        sums: update.width,
    };
    passes.run(
        set,
        output,
        #[inline(always)]
        |index, output, sums| {
            let gate = gate.row(index / update.inner);
            let rows = gradient.row(index).iter().zip(update.row(index));
            let outputs = output.iter_mut().zip(sums);
            for (((out, sum), (dy, update)), gate) in outputs.zip(rows).zip(gate) {
                *sum += dy.to_f32() * update.to_f32();
                out.write(T::from_f32(dy.to_f32() * gate.to_f32()));
            }
        },
    )
}
