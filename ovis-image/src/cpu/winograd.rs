//! Convolutions of 3x3 by Winograd's F(4x4, 3x3) (arXiv 1509.09308): a tile of 4x4 outputs takes 36
//! products per channel instead of 144, and those are computed as 36 matrix products.
//!
//! All arithmetic is in f32. The usual points 0, ±1, ±2 lose two digits. The points 0, ±5/8, ±3/2
//! and infinity (after arXiv 1803.10986) are 2.5 times as exact, and sums over blocks of channels
//! twice again: at 512 channels the relative error is 1e-6, the same as that of one long sum in
//! f32.

// Loops over the rows and columns of a transform index several arrays at once.
#![allow(clippy::needless_range_loop)]

use pulp::{Simd as Vectors, WithSimd};

use super::element::Element;
use super::instruction_set::InstructionSet;
use super::panel::{Matrix, Unit, pack};
use super::shared::Shared;
use super::tasks::for_each_task_in;
use super::tile::{self, Sums, WIDTH};

/// Side of a tile in outputs.
const TILE: usize = 4;
/// Side of a tile in inputs.
const SPAN: usize = TILE + 2;
/// Number of products for a tile and a pair of channels.
const POINTS: usize = SPAN * SPAN;
/// Number of values in a line of a panel's tiles.
const LINE: usize = TILE * WIDTH;

/// Points of the transform: 0, ±A, ±B and infinity. The powers used below are exact in f32.
const A: f32 = 0.625;
const B: f32 = 1.5;
const A2: f32 = A * A;
const B2: f32 = B * B;

/// Number of channels that are summed at a time: short sums are more exact, and a block of the two
/// panels fits into the first-level cache.
const CHANNELS: usize = 128;
/// Bytes of transformed inputs that are kept at a time.
const INPUT_BYTES: usize = 16 << 20;
/// Largest number of panels of tiles at a time, so that their products stay in the second-level
/// cache.
const MOST_PANELS: usize = 16;
/// Number of channels that a task transforms.
const TASK_CHANNELS: usize = 16;
/// Number of lanes in which weights are transformed, at least the rows of a tile.
const WEIGHT_LANES: usize = 16;
/// Offset that keeps the starts of the points' parts in different sets of the caches.
const SKEW: usize = 32;

/// Sizes of a convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) batch: usize,
    pub(super) channels: usize,
    pub(super) outputs: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

/// Run of neighboring tiles of an image in neighboring lanes of a panel.
#[derive(Debug, Clone, Copy)]
struct Run {
    lane: usize,
    length: usize,
    /// Row of the first tile, in tiles.
    row: usize,
    column: usize,
}

/// Applies a convolution with stride 1 and padding 1; `weight` is `[outputs, channels, 3, 3]`.
///
/// # Panics
/// Panics if lengths disagree.
pub(super) fn convolve<T: Element>(
    set: InstructionSet,
    shape: Shape,
    input: &[T],
    weight: &[T],
    bias: &[T],
    output: &mut [T],
) {
    let Shape {
        batch,
        channels,
        outputs,
        height,
        width,
    } = shape;
    let area = height * width;
    assert!(
        input.len() == batch * channels * area
            && weight.len() == outputs * channels * 9
            && bias.len() == outputs
            && output.len() == batch * outputs * area,
        "lengths of a convolution"
    );
    if output.is_empty() {
        return;
    }
    if channels == 0 {
        for (plane, bias) in output.chunks_exact_mut(area).zip(bias.iter().cycle()) {
            plane.fill(*bias);
        }
        return;
    }

    let tiles = height.div_ceil(TILE) * width.div_ceil(TILE);
    let panels = tiles.div_ceil(WIDTH);
    let point = channels * WIDTH + SKEW;
    let fitting = INPUT_BYTES / (POINTS * point * size_of::<f32>());
    let blocks = panels.div_ceil(fitting.clamp(1, MOST_PANELS));
    let mut transformed = vec![0.0; panels.div_ceil(blocks) * POINTS * point];
    let mut scratches: Vec<Scratch> = (0..rayon::current_num_threads())
        .map(|_| Scratch::default())
        .collect();

    let images = input.chunks_exact(channels * area);
    for (image, output) in images.zip(output.chunks_exact_mut(outputs * area)) {
        for block in 0..blocks {
            let first = block * panels / blocks;
            let end = (block + 1) * panels / blocks;
            let runs: Vec<Vec<Run>> = (first..end).map(|panel| runs(panel, shape)).collect();
            transform_image(set, image, shape, &runs, &mut transformed, &mut scratches);
            let inputs = Transformed {
                values: &transformed,
                runs: &runs,
            };
            multiply(set, shape, &inputs, weight, bias, output, &mut scratches);
        }
    }
}

/// Lists the tiles of a panel as runs.
fn runs(panel: usize, shape: Shape) -> Vec<Run> {
    let columns = shape.width.div_ceil(TILE);
    let tiles = columns * shape.height.div_ceil(TILE);
    let (start, end) = (panel * WIDTH, tiles.min((panel + 1) * WIDTH));
    let mut runs = Vec::new();
    let mut tile = start;
    while tile < end {
        let (row, column) = (tile / columns, tile % columns);
        let length = (columns - column).min(end - tile);
        runs.push(Run {
            lane: tile - start,
            length,
            row,
            column,
        });
        tile += length;
    }
    runs
}

/// Buffers of a thread, reused from task to task.
#[derive(Debug, Default)]
struct Scratch {
    /// Packed weights, `[channel][3][3][lane]`.
    packed: Vec<u32>,
    /// Transformed weights, `[point][tile of rows][channel][row]`.
    weights: Vec<f32>,
    /// Products, `[panel][point][row][lane]`.
    products: Vec<f32>,
}

/// Transformed inputs of some panels, `[panel][point][channel][lane]`.
#[derive(Debug, Clone, Copy)]
struct Transformed<'a> {
    values: &'a [f32],
    runs: &'a [Vec<Run>],
}

/// Transforms the tiles of all `runs`, each of which is a panel.
fn transform_image<T: Element>(
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

/// Transforms six inputs of a tile to the points: the coefficients of `M(x) / (x - p)`, and of
/// `M(x)` at infinity, for `M(x) = x (x² - A²) (x² - B²)`.
#[inline(always)]
fn transform_input<S: Vectors>(simd: S, d: [S::f32s; SPAN]) -> [S::f32s; SPAN] {
    let fma = |a: f32, b, c| simd.mul_add_e_f32s(simd.splat_f32s(a), b, c);
    let times = |a: f32, b| simd.mul_f32s(simd.splat_f32s(a), b);
    let even_a = fma(-B2, d[2], d[4]);
    let odd_a = fma(-B2, d[1], d[3]);
    let even_b = fma(-A2, d[2], d[4]);
    let odd_b = fma(-A2, d[1], d[3]);
    [
        fma(-A2 - B2, d[2], fma(A2 * B2, d[0], d[4])),
        fma(A, odd_a, even_a),
        fma(-A, odd_a, even_a),
        fma(B, odd_b, even_b),
        fma(-B, odd_b, even_b),
        simd.add_f32s(fma(-A2 - B2, d[3], times(A2 * B2, d[1])), d[5]),
    ]
}

/// Transforms three weights to the points, divided by the products of the points' distances.
#[inline(always)]
fn transform_weight<S: Vectors>(simd: S, g: [S::f32s; 3]) -> [S::f32s; SPAN] {
    const OVER_A: f32 = 1.0 / (2.0 * A2 * (A2 - B2));
    const OVER_B: f32 = 1.0 / (2.0 * B2 * (B2 - A2));
    let fma = |a: f32, b, c| simd.mul_add_e_f32s(simd.splat_f32s(a), b, c);
    let times = |a: f32, b| simd.mul_f32s(simd.splat_f32s(a), b);
    let even_a = fma(OVER_A, g[0], times(A2 * OVER_A, g[2]));
    let even_b = fma(OVER_B, g[0], times(B2 * OVER_B, g[2]));
    [
        times(1.0 / (A2 * B2), g[0]),
        fma(A * OVER_A, g[1], even_a),
        fma(-A * OVER_A, g[1], even_a),
        fma(B * OVER_B, g[1], even_b),
        fma(-B * OVER_B, g[1], even_b),
        g[2],
    ]
}

/// Computes four outputs from the values at the points.
#[inline(always)]
fn transform_output<S: Vectors>(simd: S, m: [S::f32s; SPAN]) -> [S::f32s; TILE] {
    let fma = |a: f32, b, c| simd.mul_add_e_f32s(simd.splat_f32s(a), b, c);
    let times = |a: f32, b| simd.mul_f32s(simd.splat_f32s(a), b);
    let even_a = simd.add_f32s(m[1], m[2]);
    let odd_a = simd.sub_f32s(m[1], m[2]);
    let even_b = simd.add_f32s(m[3], m[4]);
    let odd_b = simd.sub_f32s(m[3], m[4]);
    [
        simd.add_f32s(m[0], simd.add_f32s(even_a, even_b)),
        fma(A, odd_a, times(B, odd_b)),
        fma(A2, even_a, times(B2, even_b)),
        fma(A2 * A, odd_a, fma(B2 * B, odd_b, m[5])),
    ]
}

/// Multiplies transformed inputs by the weights, one group of outputs at a time.
fn multiply<T: Element>(
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
        let first = group * shape.outputs / groups;
        let rows = (group + 1) * shape.outputs / groups - first;
        let panels = [split * panels / splits, (split + 1) * panels / splits];
        scratch.transform_weights(set, &weight, [first, rows]);
        scratch.multiply(set, shape.channels, inputs, panels, rows);
        set.arch().dispatch(WriteOutputs {
            products: &scratch.products,
            shape,
            runs: &inputs.runs[panels[0]..panels[1]],
            first,
            bias: &bias[first..first + rows],
            output: &shared,
        });
    });
}

impl Scratch {
    /// Transforms the weights of the outputs `first .. first + rows`.
    fn transform_weights<T: Element>(
        &mut self,
        set: InstructionSet,
        weight: &Matrix<'_, T>,
        [first, rows]: [usize; 2],
    ) {
        let channels = weight.k / 9;
        let point = channels * rows + WEIGHT_LANES;
        self.weights.resize(POINTS * point, 0.0);
        for [start, height] in heights(set, rows) {
            for channel in (0..channels).step_by(CHANNELS) {
                let count = CHANNELS.min(channels - channel);
                self.packed.resize(count * 9 * WEIGHT_LANES, 0);
                let columns = weight.columns([channel * 9, count * 9]);
                let rows_of = [first + start, height];
                let packed = &mut self.packed;
                pack(&columns, rows_of, WEIGHT_LANES, Unit::F32, set, packed);
                set.arch().dispatch(TransformWeights {
                    packed: bytemuck::cast_slice(&self.packed),
                    rows: height,
                    first: start * channels + channel * height,
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
        [first, end]: [usize; 2],
        rows: usize,
    ) {
        let size = rows * WIDTH;
        self.products.resize((end - first) * POINTS * size, 0.0);
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
                for panel in first..end {
                    let start = (panel * POINTS + point) * right_point + channel * WIDTH;
                    let right = &inputs.values[start..start + count * WIDTH];
                    let right = bytemuck::cast_slice(right);
                    let start = ((panel - first) * POINTS + point) * size;
                    let products = &mut self.products[start..start + size];
                    for [row, height] in heights(set, rows) {
                        let start = row * channels + channel * height;
                        let left = bytemuck::cast_slice(&left[start..start + count * height]);
                        let products = &mut products[row * WIDTH..];
                        tile::multiply(set, Unit::F32, sums, height, left, right, products);
                    }
                }
            }
        }
    }
}

/// Splits a task's rows into nearly equal tiles, each given by its first row and number of rows.
fn heights(set: InstructionSet, rows: usize) -> impl Iterator<Item = [usize; 2]> {
    let tiles = rows.div_ceil(set.tile_rows());
    (0..tiles).map(move |tile| {
        let first = tile * rows / tiles;
        [first, (tile + 1) * rows / tiles - first]
    })
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

/// Transforms products to outputs.
struct WriteOutputs<'a, T> {
    /// Products, `[panel][point][row][lane]`.
    products: &'a [f32],
    shape: Shape,
    /// Runs of tiles of each panel.
    runs: &'a [Vec<Run>],
    /// Index of the first output channel.
    first: usize,
    bias: &'a [T],
    output: &'a Shared<'a, T>,
}

impl<T: Element> WithSimd for WriteOutputs<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Vectors>(self, simd: S) {
        let rows = self.bias.len();
        let panels = self.products.chunks_exact(POINTS * rows * WIDTH);
        for (products, runs) in panels.zip(self.runs) {
            for (row, bias) in self.bias.iter().enumerate() {
                let lines = tile_lines(simd, &products[row * WIDTH..], rows * WIDTH);
                self.write(&lines, runs, self.first + row, bias.to_f32());
            }
        }
    }
}

/// Computes the four lines of a panel's outputs for one channel, whose points are `stride` values
/// apart.
#[inline(always)]
fn tile_lines<S: Vectors>(simd: S, products: &[f32], stride: usize) -> [[f32; LINE]; TILE] {
    let mut values = [[0.0; WIDTH]; TILE * TILE];
    for lane in (0..WIDTH).step_by(S::F32_LANES) {
        let load = |point: usize| {
            let start = point * stride + lane;
            S::as_simd_f32s(&products[start..start + S::F32_LANES]).0[0]
        };
        let mut half = [[simd.splat_f32s(0.0); SPAN]; TILE];
        for j in 0..SPAN {
            let column = transform_output(simd, std::array::from_fn(|i| load(i * SPAN + j)));
            for i in 0..TILE {
                half[i][j] = column[i];
            }
        }
        for i in 0..TILE {
            let row = transform_output(simd, half[i]);
            for j in 0..TILE {
                let to = &mut values[i * TILE + j][lane..lane + S::F32_LANES];
                S::as_mut_simd_f32s(to).0[0] = row[j];
            }
        }
    }
    let mut lines = [[0.0; LINE]; TILE];
    for (line, values) in lines.iter_mut().zip(values.chunks_exact(TILE)) {
        for lane in 0..WIDTH {
            for j in 0..TILE {
                line[lane * TILE + j] = values[j][lane];
            }
        }
    }
    lines
}

impl<T: Element> WriteOutputs<'_, T> {
    /// Writes the part of a panel's lines that lies inside the image.
    #[inline(always)]
    fn write(&self, lines: &[[f32; LINE]; TILE], runs: &[Run], channel: usize, bias: f32) {
        let Shape { height, width, .. } = self.shape;
        for run in runs {
            let (y, x) = (run.row * TILE, run.column * TILE);
            let count = (run.length * TILE).min(width - x);
            for (line, y) in lines.iter().zip(y..height) {
                let start = (channel * height + y) * width + x;
                // SAFETY: tasks write disjoint channels or tiles.
                #[allow(unsafe_code)]
                let output = unsafe { self.output.part(start, count) };
                for (out, value) in output.iter_mut().zip(&line[run.lane * TILE..]) {
                    *out = T::from_f32(value + bias);
                }
            }
        }
    }
}
