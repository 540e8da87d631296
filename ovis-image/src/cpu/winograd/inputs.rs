//! Transform of the input: tiles of an image to their values at the points.

// Loops over the rows and columns of a transform index several arrays at once.
#![allow(clippy::needless_range_loop)]

use pulp::{Simd as Vectors, WithSimd};

use super::products::Scratch;
use super::transforms::transform_input;
use super::{LINE, POINTS, Run, SKEW, SPAN, Shape, TILE};
use crate::cpu::element::Element;
use crate::cpu::instruction_set::InstructionSet;
use crate::cpu::shared::Shared;
use crate::cpu::tasks::for_each_task_in;
use crate::cpu::tile::WIDTH;

/// Number of channels that a task transforms.
const TASK_CHANNELS: usize = 16;

/// Transforms the tiles of all `runs`, each of which is a panel.
pub(super) fn transform_image<T: Element>(
    set: InstructionSet,
    image: &[T],
    shape: Shape,
    runs: &[Vec<Run>],
    transformed: &mut [f32],
    scratches: &mut [Scratch],
) {
    let point = shape.channels * WIDTH + SKEW;
    let chunks = shape.channels.div_ceil(TASK_CHANNELS);
    let shared = Shared::new(transformed);
    for_each_task_in(scratches, runs.len() * chunks, |_, task| {
        // Neighboring panels share lines, so they are processed one after the other.
        let (first, panel) = (task / runs.len() * TASK_CHANNELS, task % runs.len());
        let channels = TASK_CHANNELS.min(shape.channels - first);
        let points = std::array::from_fn(|index| {
            let start = (panel * POINTS + index) * point + first * WIDTH;
            // SAFETY: tasks write disjoint panels or channels, and points disjoint parts.
            #[allow(unsafe_code)]
            unsafe {
                shared.part(start, channels * WIDTH)
            }
        });
        set.arch().dispatch(TransformInputs {
            image,
            shape,
            runs: &runs[panel],
            first,
            points,
        });
    });
}

/// Transforms the tiles of a panel for some channels.
struct TransformInputs<'a, T> {
    image: &'a [T],
    shape: Shape,
    runs: &'a [Run],
    first: usize,
    /// Values of each point, `[channel][lane]`.
    points: [&'a mut [f32]; POINTS],
}

impl<T: Element> WithSimd for TransformInputs<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let mut points = self.points;
        let area = self.shape.height * self.shape.width;
        let planes = self.image[self.first * area..].chunks_exact(area);
        let channels = points[0].len() / WIDTH;
        let mut values = [[0.0; WIDTH]; POINTS];
        for (channel, plane) in planes.take(channels).enumerate() {
            gather(plane, self.shape, self.runs, &mut values);
            let outputs = points.each_mut().map(|point| {
                let lanes = &mut point[channel * WIDTH..(channel + 1) * WIDTH];
                S::as_mut_simd_f32s(lanes).0
            });
            for vector in 0..WIDTH / S::F32_LANES {
                let mut tile = [[simd.splat_f32s(0.0); SPAN]; SPAN];
                for j in 0..SPAN {
                    let column =
                        std::array::from_fn(|i| S::as_simd_f32s(&values[i * SPAN + j]).0[vector]);
                    let column = transform_input(simd, column);
                    for i in 0..SPAN {
                        tile[i][j] = column[i];
                    }
                }
                for i in 0..SPAN {
                    let row = transform_input(simd, tile[i]);
                    for j in 0..SPAN {
                        outputs[i * SPAN + j][vector] = row[j];
                    }
                }
            }
        }
    }
}

/// Gathers the inputs of a panel's tiles for one channel, `[row][column][lane]`.
#[inline(always)]
fn gather<T: Element>(
    plane: &[T],
    shape: Shape,
    runs: &[Run],
    values: &mut [[f32; WIDTH]; POINTS],
) {
    let mut lines = [[0.0; LINE]; 2];
    for (row, values) in values.chunks_exact_mut(SPAN).enumerate() {
        for run in runs {
            let lanes = run.lane * TILE..(run.lane + run.length) * TILE;
            // These coordinates count the border of zeros.
            let (y, x) = (run.row * TILE + row, run.column * TILE);
            let line = if (1..=shape.height).contains(&y) {
                &plane[(y - 1) * shape.width..y * shape.width]
            } else {
                &[]
            };
            copy_padded(line, x, &mut lines[0][lanes.clone()]);
            copy_padded(line, x + TILE, &mut lines[1][lanes]);
        }
        for lane in 0..WIDTH {
            for j in 0..TILE {
                values[j][lane] = lines[0][lane * TILE + j];
            }
        }
        // The last two columns of a tile are the first two of its right neighbor.
        for lane in 0..WIDTH {
            for j in TILE..SPAN {
                values[j][lane] = lines[1][lane * TILE + j - TILE];
            }
        }
    }
}

/// Copies from `line`, starting at `start`, with a zero before the line and zeros after it.
#[inline(always)]
fn copy_padded<T: Element>(line: &[T], start: usize, out: &mut [f32]) {
    let before = usize::from(start == 0).min(out.len());
    let from = line.get(start + before - 1..).unwrap_or(&[]);
    let (zeros, out) = out.split_at_mut(before);
    let (inside, behind) = out.split_at_mut(from.len().min(out.len()));
    zeros.fill(0.0);
    for (out, value) in inside.iter_mut().zip(from) {
        *out = value.to_f32();
    }
    behind.fill(0.0);
}
