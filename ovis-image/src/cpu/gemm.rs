//! Matrix products in bf16 or f32, summed in f32 (the scheme of arXiv:1407.3501's BLIS: packed
//! panels around a tile held in registers). Burn's flex lacks the bf16 form: it converts whole
//! operands to f32 at each product.

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::aligned::Aligned;
use super::element::Element;
use super::even_parts::even_part;
use super::instruction_set::InstructionSet;
use super::output::{Unwritten, filled, unwritten};
use super::panel::{Matrix, Unit, pack};
use super::shared::Shared;
use super::tasks::for_each_task;
use super::tile::{self, MAX_ROWS, Sums, WIDTH};

/// Number of units of k that panels hold at a time; longer products are summed in blocks.
const K_BLOCK: usize = 4096;
/// Bytes of right-hand panels that a task keeps in its second-level cache.
const RIGHT_BYTES: usize = 512 << 10;

/// Number of lines that are packed for all panels at a time.
const LINES: usize = 64;

/// Left-hand matrix in panels of nearly equal height, shared by all tasks of a product.
#[derive(Debug)]
pub(crate) struct LeftPanels {
    units: Vec<u32>,
    rows: usize,
    panels: usize,
    per_row: usize,
}

impl LeftPanels {
    /// Packs the whole matrix.
    pub(crate) fn pack<T: Element>(
        matrix: &Matrix<'_, T>,
        unit: Unit,
        set: InstructionSet,
    ) -> Self {
        let per_row = unit.count(matrix.k);
        let panels = matrix.rows.div_ceil(set.tile_rows());
        // Rows that are neighbors are read a line of all panels at a time: with one panel after the
        // other, each would read a few elements of every line, and miss a page each time.
        let chunk = if matrix.rows_are_neighbors() {
            LINES
        } else {
            per_row.max(1)
        };
        let pack_all = |units: &mut Unwritten<u32>| {
            let units = Shared::new(units);
            let chunks = per_row.div_ceil(chunk);
            (0..chunks * panels).into_par_iter().for_each(|task| {
                let [start, panel] = [task / panels * chunk, task % panels];
                let taken = chunk.min(per_row - start);
                let part = even_part(matrix.rows, [panel, panels]);
                let (first, rows) = (part.start, part.len());
                // SAFETY: panels are disjoint ranges of rows, and chunks of their units.
                #[allow(unsafe_code)]
                let units = unsafe { units.part(first * per_row + start * rows, taken * rows) };
                let part = matrix.columns(unit.elements(start, taken, matrix.k));
                pack(&part, [first, rows], rows, unit, set, units);
            });
        };
        Self {
            // SAFETY: the panels are all rows, and `pack` writes all units of a panel.
            #[allow(unsafe_code)]
            units: unsafe { filled(matrix.rows * per_row, pack_all) },
            rows: matrix.rows,
            panels,
            per_row,
        }
    }

    /// Returns the rows of a panel.
    fn rows_of(&self, panel: usize) -> Range<usize> {
        even_part(self.rows, [panel, self.panels])
    }

    /// Returns the rows of a panel and its units.
    fn panel(&self, panel: usize) -> (Range<usize>, &[u32]) {
        let rows = self.rows_of(panel);
        let units = &self.units[rows.start * self.per_row..rows.end * self.per_row];
        (rows, units)
    }
}

/// Applies a linear layer, `output[m][n] = sum over k of left[m][k] right[n][k] + bias[n]`, with
/// the weight in the order of checkpoints.
///
/// # Panics
/// Panics if lengths disagree.
pub(crate) fn linear<T: Element>(
    set: InstructionSet,
    input: &Matrix<'_, T>,
    weight: &Matrix<'_, T>,
    bias: Option<&[T]>,
    output: &mut Unwritten<T>,
) {
    let bias = bias.map_or(Bias::None, Bias::Columns);
    product(set, input, weight, bias, output);
}

/// Bias that is added to a product.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bias<'a, T> {
    None,
    /// Adds one value to each column of the output.
    Columns(&'a [T]),
    /// Adds one value to each row of the output.
    Rows(&'a [T]),
}

/// Computes `output[m][n] = sum over k of input[m][k] weight[n][k]` and adds a bias. Every element
/// of the output is written.
///
/// # Panics
/// Panics if lengths disagree.
pub(super) fn product<T: Element>(
    set: InstructionSet,
    input: &Matrix<'_, T>,
    weight: &Matrix<'_, T>,
    bias: Bias<'_, T>,
    output: &mut Unwritten<T>,
) {
    let (m, n, k) = (input.rows, weight.rows, input.k);
    assert!(
        weight.k == k
            && output.len() == m * n
            && match bias {
                Bias::None => true,
                Bias::Columns(bias) => bias.len() == n,
                Bias::Rows(bias) => bias.len() == m,
            }
    );
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        return write_bias(bias, n, output);
    }
    let unit = Unit::of::<T>(set);
    let elements_per_block = K_BLOCK * if unit == Unit::F32 { 1 } else { 2 };
    let k_blocks: Vec<[usize; 2]> = (0..k)
        .step_by(elements_per_block)
        .map(|start| [start, (k - start).min(elements_per_block)])
        .collect();
    let left: Vec<LeftPanels> = k_blocks
        .iter()
        .map(|block| LeftPanels::pack(&input.columns(*block), unit, set))
        .collect();

    let call = Product {
        set,
        unit,
        weight,
        bias,
        size: [m, n],
        k_blocks,
        left,
        output: Shared::new(output),
    };
    let panels = n.div_ceil(WIDTH);
    let longest = unit.count(k.min(elements_per_block));
    let fitting = (RIGHT_BYTES / (longest.max(1) * WIDTH * 4)).max(1);
    // Each thread gets four tasks, so that no thread waits long for another.
    let per_task = fitting
        .min(panels.div_ceil(4 * rayon::current_num_threads()))
        .max(1);
    for_each_task(
        panels.div_ceil(per_task),
        Scratch::default,
        |scratch, task| {
            let first = task * per_task;
            let panels = first..panels.min(first + per_task);
            if call.left.len() == 1 {
                return call.multiply_at_once(scratch, panels);
            }
            scratch.sums.resize(panels.len() * m * WIDTH, 0.0);
            for block in 0..call.k_blocks.len() {
                call.add_block(scratch, panels.clone(), block);
            }
            for (panel, sums) in panels.zip(scratch.sums.chunks_exact(m * WIDTH)) {
                call.write(0..m, panel, sums);
            }
        },
    );
}

/// Buffers of a thread, reused from task to task.
#[derive(Debug, Default)]
struct Scratch {
    /// Packed right-hand panels of a block of k.
    right: Aligned<u32>,
    /// Sums, `[panel][m][WIDTH]`.
    sums: Vec<f32>,
}

/// Operands and output of one product.
struct Product<'a, T> {
    set: InstructionSet,
    unit: Unit,
    weight: &'a Matrix<'a, T>,
    bias: Bias<'a, T>,
    /// Numbers of rows and columns of the output.
    size: [usize; 2],
    /// Start and length of each block of k.
    k_blocks: Vec<[usize; 2]>,
    /// Packed left-hand matrix of each block of k.
    left: Vec<LeftPanels>,
    output: Shared<'a, MaybeUninit<T>>,
}

impl<T: Element> Product<'_, T> {
    /// Packs some right-hand panels, and multiplies and writes one tile after the other, which does
    /// not leave the cache.
    fn multiply_at_once(&self, scratch: &mut Scratch, panels: Range<usize>) {
        let size = self.pack_right(&mut scratch.right, panels.clone(), 0);
        let left = &self.left[0];
        let mut sums = [0.0; MAX_ROWS * WIDTH];
        for index in 0..left.panels {
            let (rows, units) = left.panel(index);
            for (panel, right) in panels.clone().zip(scratch.right.chunks_exact(size)) {
                let count = rows.len();
                tile::multiply(
                    self.set,
                    self.unit,
                    Sums::New,
                    count,
                    units,
                    right,
                    &mut sums,
                );
                self.write(rows.clone(), panel, &sums[..count * WIDTH]);
            }
        }
    }

    /// Packs some right-hand panels of a block of k, and adds their products to the sums.
    fn add_block(&self, scratch: &mut Scratch, panels: Range<usize>, index: usize) {
        let (set, unit, [m, _]) = (self.set, self.unit, self.size);
        let start = if index == 0 {
            Sums::New
        } else {
            Sums::Continued
        };
        let size = self.pack_right(&mut scratch.right, panels, index);
        let Scratch { right, sums } = scratch;
        let left = &self.left[index];
        for panel in 0..left.panels {
            let (rows, units) = left.panel(panel);
            let right = right.chunks_exact(size);
            for (right, sums) in right.zip(sums.chunks_exact_mut(m * WIDTH)) {
                let sums = &mut sums[rows.start * WIDTH..];
                tile::multiply(set, unit, start, rows.len(), units, right, sums);
            }
        }
    }

    /// Packs some right-hand panels of a block of k, and returns the number of units of each.
    fn pack_right(&self, right: &mut Aligned<u32>, panels: Range<usize>, index: usize) -> usize {
        let [_, n] = self.size;
        let weight = self.weight.columns(self.k_blocks[index]);
        let size = self.unit.count(weight.k) * WIDTH;
        right.resize(panels.len() * size, 0);
        for (panel, units) in panels.zip(right.chunks_exact_mut(size)) {
            let first = panel * WIDTH;
            let rows = [first, WIDTH.min(n - first)];
            pack(&weight, rows, WIDTH, self.unit, self.set, unwritten(units));
        }
        size
    }

    /// Adds the bias to the sums of some rows and one panel, and writes the output.
    fn write(&self, rows: Range<usize>, panel: usize, sums: &[f32]) {
        let [_, n] = self.size;
        let first = panel * WIDTH;
        let columns = WIDTH.min(n - first);
        for (row, sums) in rows.zip(sums.chunks_exact(WIDTH)) {
            // SAFETY: tasks write disjoint columns.
            #[allow(unsafe_code)]
            let output = unsafe { self.output.part(row * n + first, columns) };
            match self.bias {
                Bias::Columns(bias) => {
                    let bias = &bias[first..first + columns];
                    for ((out, sum), bias) in output.iter_mut().zip(sums).zip(bias) {
                        out.write(T::from_f32(sum + bias.to_f32()));
                    }
                }
                Bias::Rows(bias) => {
                    let bias = bias[row].to_f32();
                    for (out, sum) in output.iter_mut().zip(sums) {
                        out.write(T::from_f32(sum + bias));
                    }
                }
                Bias::None => {
                    for (out, sum) in output.iter_mut().zip(sums) {
                        out.write(T::from_f32(*sum));
                    }
                }
            }
        }
    }
}

/// Writes the product of matrices that have no columns: the bias.
fn write_bias<T: Element>(bias: Bias<'_, T>, n: usize, output: &mut Unwritten<T>) {
    for (index, out) in output.iter_mut().enumerate() {
        out.write(match bias {
            Bias::None => T::from_f32(0.0),
            Bias::Columns(bias) => bias[index % n],
            Bias::Rows(bias) => bias[index / n],
        });
    }
}
