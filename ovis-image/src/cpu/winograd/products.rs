//! Products of the transformed inputs with the weights, which each task transforms for itself.

// Loops over the rows and columns of a transform index several arrays at once.
#![allow(clippy::needless_range_loop)]

use std::ops::Range;

use pulp::{Simd as Vectors, WithSimd};

use super::outputs::WriteOutputs;
use super::transforms::transform_weight;
use super::{POINTS, SKEW, SPAN, Shape, Transformed};
use crate::cpu::element::Element;
use crate::cpu::even_parts::{even_part, even_parts_of};
use crate::cpu::instruction_set::InstructionSet;
use crate::cpu::panel::{Matrix, Unit, pack};
use crate::cpu::shared::Shared;
use crate::cpu::tasks::for_each_task_in;
use crate::cpu::tile::{self, Sums, WIDTH};

/// Number of channels that are summed at a time: short sums are more exact, and a block of the two
/// panels fits into the first-level cache.
const CHANNELS: usize = 128;
/// Number of lanes in which weights are transformed, at least the rows of a tile.
const WEIGHT_LANES: usize = 16;

/// Buffers of a thread, reused from task to task.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Packed weights, `[channel][3][3][lane]`.
    packed: Vec<u32>,
    /// Transformed weights, `[point][tile of rows][channel][row]`.
    weights: Vec<f32>,
    /// Products, `[panel][point][row][lane]`.
    products: Vec<f32>,
}

/// Multiplies transformed inputs by the weights, one group of outputs at a time.
pub(super) fn multiply<T: Element>(
    set: InstructionSet,
    shape: Shape,
    inputs: &Transformed<'_>,
    weight: &[T],
    bias: &[T],
    output: &mut [T],
    scratches: &mut [Scratch],
) {
    let threads = scratches.len();
    let panels = inputs.runs.len();
    // Tasks have equal size, and every thread gets the same number of them.
    let groups = shape.outputs.div_ceil(set.tile_rows());
    let groups = groups.next_multiple_of(threads).min(shape.outputs);
    let splits = threads.div_ceil(groups).min(panels);
    let weight = Matrix::contiguous(weight, [shape.outputs, shape.channels * 9]);
    let shared = Shared::new(output);
    for_each_task_in(scratches, groups * splits, |scratch, task| {
        let (group, split) = (task / splits, task % splits);
        let outputs = even_part(shape.outputs, [group, groups]);
        let panels = even_part(panels, [split, splits]);
        scratch.transform_weights(set, &weight, outputs.clone());
        scratch.multiply(set, shape.channels, inputs, panels.clone(), outputs.len());
        set.arch().dispatch(WriteOutputs {
            products: &scratch.products,
            shape,
            runs: &inputs.runs[panels],
            first: outputs.start,
            bias: &bias[outputs],
            output: &shared,
        });
    });
}

impl Scratch {
    /// Transforms the weights of some outputs.
    fn transform_weights<T: Element>(
        &mut self,
        set: InstructionSet,
        weight: &Matrix<'_, T>,
        outputs: Range<usize>,
    ) {
        let rows = outputs.len();
        let channels = weight.k / 9;
        let point = channels * rows + WEIGHT_LANES;
        self.weights.resize(POINTS * point, 0.0);
        for tile in even_parts_of(rows, set.tile_rows()) {
            for channel in (0..channels).step_by(CHANNELS) {
                let count = CHANNELS.min(channels - channel);
                self.packed.resize(count * 9 * WEIGHT_LANES, 0);
                let columns = weight.columns([channel * 9, count * 9]);
                let rows_of = [outputs.start + tile.start, tile.len()];
                let packed = &mut self.packed;
                pack(&columns, rows_of, WEIGHT_LANES, Unit::F32, set, packed);
                set.arch().dispatch(TransformWeights {
                    packed: bytemuck::cast_slice(&self.packed),
                    rows: tile.len(),
                    first: tile.start * channels + channel * tile.len(),
                    weights: &mut self.weights,
                });
            }
        }
    }

    /// Computes the products of all points, summed over the channels.
    fn multiply(
        &mut self,
        set: InstructionSet,
        channels: usize,
        inputs: &Transformed<'_>,
        panels: Range<usize>,
        rows: usize,
    ) {
        let size = rows * WIDTH;
        self.products.resize(panels.len() * POINTS * size, 0.0);
        let (left_point, right_point) = (channels * rows + WEIGHT_LANES, channels * WIDTH + SKEW);
        for point in 0..POINTS {
            let left = &self.weights[point * left_point..];
            for channel in (0..channels).step_by(CHANNELS) {
                let count = CHANNELS.min(channels - channel);
                let sums = if channel == 0 {
                    Sums::New
                } else {
                    Sums::Continued
                };
                for (index, panel) in panels.clone().enumerate() {
                    let start = (panel * POINTS + point) * right_point + channel * WIDTH;
                    let right = &inputs.values[start..start + count * WIDTH];
                    let right = bytemuck::cast_slice(right);
                    let start = (index * POINTS + point) * size;
                    let products = &mut self.products[start..start + size];
                    for tile in even_parts_of(rows, set.tile_rows()) {
                        let height = tile.len();
                        let start = tile.start * channels + channel * height;
                        let left = bytemuck::cast_slice(&left[start..start + count * height]);
                        let products = &mut products[tile.start * WIDTH..];
                        tile::multiply(set, Unit::F32, sums, height, left, right, products);
                    }
                }
            }
        }
    }
}

/// Transforms the weights of neighboring channels.
struct TransformWeights<'a> {
    /// Packed weights, `[channel][3][3][lane]`.
    packed: &'a [f32],
    rows: usize,
    /// Position of the first channel's weights within each point.
    first: usize,
    /// Transformed weights, `[point][tile of rows][channel][row]`.
    weights: &'a mut [f32],
}

impl WithSimd for TransformWeights<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let size = self.weights.len() / POINTS;
        for (channel, packed) in self.packed.chunks_exact(9 * WEIGHT_LANES).enumerate() {
            let start = self.first + channel * self.rows;
            for lane in (0..WEIGHT_LANES).step_by(S::F32_LANES) {
                let load = |index: usize| {
                    let start = index * WEIGHT_LANES + lane;
                    S::as_simd_f32s(&packed[start..start + S::F32_LANES]).0[0]
                };
                let mut half = [[simd.splat_f32s(0.0); 3]; SPAN];
                for j in 0..3 {
                    let column = std::array::from_fn(|i| load(i * 3 + j));
                    let column = transform_weight(simd, column);
                    for i in 0..SPAN {
                        half[i][j] = column[i];
                    }
                }
                for i in 0..SPAN {
                    let row = transform_weight(simd, half[i]);
                    for j in 0..SPAN {
                        // The lanes after the rows are overwritten by the next channel.
                        let start = (i * SPAN + j) * size + start + lane;
                        let to = &mut self.weights[start..start + S::F32_LANES];
                        S::as_mut_simd_f32s(to).0[0] = row[j];
                    }
                }
            }
        }
    }
}
