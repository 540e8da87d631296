//! Normalization, rotation and gating, each in one pass over the data: vectorized within a row,
//! threaded over rows. All arithmetic is in f32, and results are rounded once.

use rayon::prelude::*;

use super::element::Element;
use super::instruction_set::InstructionSet;
use super::output::Unwritten;
#[cfg(feature = "autodiff")]
use super::panel::Matrix;
use super::vector::{silu, sum, vectorized};
use crate::ops::{Activation, Pairs};

/// Smallest number of elements per task; below it, waking a thread costs more than it saves.
const TASK_ELEMENTS: usize = 16 << 10;

/// View of rows of `width` elements in `[outer][inner]` order, each contiguous.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) outer: usize,
    pub(crate) outer_stride: usize,
    pub(crate) inner: usize,
    pub(crate) inner_stride: usize,
    pub(crate) width: usize,
}

impl<'a, T: Element> Rows<'a, T> {
    /// Creates a view of rows stored one after the other.
    pub(crate) fn contiguous(data: &'a [T], width: usize) -> Self {
        let rows = data.len() / width.max(1);
        Self {
            data,
            outer: 1,
            outer_stride: data.len(),
            inner: rows,
            inner_stride: width,
            width,
        }
    }

    /// Views the rows of a matrix whose elements are neighbors.
    #[cfg(feature = "autodiff")]
    pub(crate) fn of_matrix(matrix: &Matrix<'a, T>) -> Self {
        let (data, inner_stride) = matrix.rows_of_neighbors();
        Self {
            data,
            outer: 1,
            outer_stride: 0,
            inner: matrix.rows,
            inner_stride,
            width: matrix.k,
        }
    }

    /// Returns the number of rows.
    pub(super) fn rows(&self) -> usize {
        self.outer * self.inner
    }

    /// Returns a row by its number over both axes.
    #[inline(always)]
    pub(super) fn row(&self, index: usize) -> &'a [T] {
        let (outer, inner) = (index / self.inner, index % self.inner);
        let start = outer * self.outer_stride + inner * self.inner_stride;
        &self.data[start..start + self.width]
    }
}

/// Calls `row(number, output row)` for every row of an output, threaded.
#[inline(always)]
fn for_each_row<T: Element>(
    set: InstructionSet,
    output: &mut Unwritten<T>,
    width: usize,
    row: impl Fn(usize, &mut Unwritten<T>) + Sync,
) {
    assert!(
        width > 0 && output.len().is_multiple_of(width),
        "rows of an output"
    );
    let rows = (TASK_ELEMENTS / width.max(1)).max(1);
    output
        .par_chunks_mut((rows * width).max(1))
        .enumerate()
        .for_each(|(task, output)| {
            vectorized(
                set,
                #[inline(always)]
                || {
                    for (index, output) in output.chunks_exact_mut(width).enumerate() {
                        row(task * rows + index, output);
                    }
                },
            );
        });
}

/// Computes `(1 + scale) * (x - mean) / sqrt(variance + eps) + shift`; shift and scale have one row
/// per outer row of the input, or a single row.
pub(crate) fn modulated_norm<T: Element>(
    set: InstructionSet,
    input: Rows<'_, T>,
    shift: Rows<'_, T>,
    scale: Rows<'_, T>,
    eps: f32,
    output: &mut Unwritten<T>,
) {
    let width = input.width;
    assert!(
        shift.width == width && scale.width == width,
        "widths of a norm"
    );
    for_each_row(
        set,
        output,
        width,
        #[inline(always)]
        |index, output| {
            let row = input.row(index);
            let outer = index / input.inner;
            let (shift, scale) = (shift.row(outer), scale.row(outer));
            let mean = sum(row, |x| x) / width as f32;
            let variance = sum(row, |x| (x - mean) * (x - mean)) / width as f32;
            let factor = 1.0 / (variance + eps).sqrt();
            for (((out, x), shift), scale) in output.iter_mut().zip(row).zip(shift).zip(scale) {
                let normalized = (x.to_f32() - mean) * factor;
                out.write(T::from_f32(
                    normalized * (scale.to_f32() + 1.0) + shift.to_f32(),
                ));
            }
        },
    );
}

/// Computes `x / sqrt(mean of x^2 + eps) * weight`.
pub(crate) fn rms_norm<T: Element>(
    set: InstructionSet,
    input: Rows<'_, T>,
    weight: &[T],
    eps: f32,
    output: &mut Unwritten<T>,
) {
    assert!(
        weight.len() == input.width && output.len() == input.rows() * input.width,
        "sizes of a norm"
    );
    for_each_row(
        set,
        output,
        input.width,
        #[inline(always)]
        |index, output| {
            let row = input.row(index);
            let factor = rms_factor(row, eps);
            for ((out, x), weight) in output.iter_mut().zip(row).zip(weight) {
                out.write(T::from_f32(x.to_f32() * factor * weight.to_f32()));
            }
        },
    );
}

#[inline(always)]
pub(super) fn rms_factor<T: Element>(row: &[T], eps: f32) -> f32 {
    1.0 / (sum(row, |x| x * x) / row.len() as f32 + eps).sqrt()
}

/// Normalizes each head like [`rms_norm`] and rotates its pairs by the angles of its token.
///
/// `input` has one row per (batch, token) with the elements of all heads, of which `heads *
/// head_dim` are read. `cos` and `sin` are `[tokens][head_dim / 2]`. The output has the input's
/// order, without gaps.
pub(crate) fn norm_and_rotate<T: Element>(
    set: InstructionSet,
    input: Rows<'_, T>,
    weight: &[T],
    eps: f32,
    [cos, sin]: [&[f32]; 2],
    pairs: Pairs,
    output: &mut Unwritten<T>,
) {
    let head_dim = weight.len();
    let half = head_dim / 2;
    assert!(
        head_dim == 2 * half && input.width.is_multiple_of(head_dim),
        "heads of a rotation"
    );
    for_each_row(
        set,
        output,
        input.width,
        #[inline(always)]
        |index, output| {
            let token = index % input.inner;
            let cos = &cos[token * half..(token + 1) * half];
            let sin = &sin[token * half..(token + 1) * half];
            let heads = input.row(index).chunks_exact(head_dim);
            for (head, output) in heads.zip(output.chunks_exact_mut(head_dim)) {
                let factor = rms_factor(head, eps);
                let normalized = |i: usize| head[i].to_f32() * factor * weight[i].to_f32();
                for i in 0..half {
                    let (first, second) = match pairs {
                        Pairs::Adjacent => (2 * i, 2 * i + 1),
                        Pairs::Halves => (i, half + i),
                    };
                    let (a, b) = (normalized(first), normalized(second));
                    output[first].write(T::from_f32(a * cos[i] - b * sin[i]));
                    output[second].write(T::from_f32(b * cos[i] + a * sin[i]));
                }
            }
        },
    );
}

/// Computes `silu(gate) * up`.
pub(crate) fn swiglu<T: Element>(
    set: InstructionSet,
    gate: Rows<'_, T>,
    up: Rows<'_, T>,
    output: &mut Unwritten<T>,
) {
    assert_eq!(gate.width, up.width, "widths of a SwiGLU");
    for_each_row(
        set,
        output,
        gate.width,
        #[inline(always)]
        |index, output| {
            for ((out, gate), up) in output.iter_mut().zip(gate.row(index)).zip(up.row(index)) {
                out.write(T::from_f32(silu(gate.to_f32()) * up.to_f32()));
            }
        },
    );
}

/// Computes `residual + gate * update`; the gate has one row per outer row of `residual`, or a
/// single row.
pub(crate) fn add_gated<T: Element>(
    set: InstructionSet,
    residual: Rows<'_, T>,
    gate: Rows<'_, T>,
    update: Rows<'_, T>,
    output: &mut Unwritten<T>,
) {
    let width = residual.width;
    assert!(
        gate.width == width && update.width == width,
        "widths of a gated sum"
    );
    for_each_row(
        set,
        output,
        width,
        #[inline(always)]
        |index, output| {
            let gate = gate.row(index / residual.inner);
            let rows = residual.row(index).iter().zip(update.row(index));
            for ((out, (residual, update)), gate) in output.iter_mut().zip(rows).zip(gate) {
                out.write(T::from_f32(
                    residual.to_f32() + gate.to_f32() * update.to_f32(),
                ));
            }
        },
    );
}

/// Applies group normalization to `[batch * groups][channels of a group * pixels]`, then SiLU if
/// requested.
pub(crate) fn group_norm<T: Element>(
    set: InstructionSet,
    input: &[T],
    [groups, channels, pixels]: [usize; 3],
    [weight, bias]: [&[T]; 2],
    eps: f32,
    activation: Activation,
    output: &mut [T],
) {
    let per_group = channels / groups * pixels;
    if per_group == 0 {
        return;
    }
    output
        .par_chunks_mut(per_group)
        .zip(input.par_chunks(per_group))
        .enumerate()
        .for_each(|(group, (output, input))| {
            vectorized(
                set,
                #[inline(always)]
                || {
                    let first = group % groups * (channels / groups);
                    let mean = sum_of_parts(input, pixels, |x| x) / per_group as f32;
                    let square = |x: f32| (x - mean) * (x - mean);
                    let variance = sum_of_parts(input, pixels, square) / per_group as f32;
                    let factor = 1.0 / (variance + eps).sqrt();
                    let parts = output
                        .chunks_exact_mut(pixels)
                        .zip(input.chunks_exact(pixels));
                    for (channel, (output, input)) in parts.enumerate() {
                        let weight = weight[first + channel].to_f32();
                        let bias = bias[first + channel].to_f32();
                        for (out, x) in output.iter_mut().zip(input) {
                            let y = (x.to_f32() - mean) * factor * weight + bias;
                            *out = T::from_f32(match activation {
                                Activation::Identity => y,
                                Activation::Silu => silu(y),
                            });
                        }
                    }
                },
            );
        });
}

/// Computes a sum of partial sums, for accuracy over a million elements.
#[inline(always)]
pub(super) fn sum_of_parts<T: Element>(
    values: &[T],
    part: usize,
    term: impl Fn(f32) -> f32 + Copy,
) -> f32 {
    let sums = values.chunks(part.clamp(1, 4096));
    sums.map(|part| f64::from(sum(part, term))).sum::<f64>() as f32
}
