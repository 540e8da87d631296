//! Matrix products in bf16 or f32, summed in f32 (the scheme of arXiv:1407.3501's BLIS: packed
//! panels around a tile held in registers). Burn's flex lacks the bf16 form: it converts whole
//! operands to f32 at each product.

use rayon::prelude::*;

use super::element::Element;
use super::instruction_set::InstructionSet;
use super::panel::{Matrix, Unit, pack};
use super::shared::Shared;
use super::tasks::for_each_task;
use super::tile::{self, Sums, WIDTH};
use super::zeros::zeros;

/// Number of units of k that panels hold at a time; longer products are summed in blocks.
const K_BLOCK: usize = 4096;
/// Bytes of right-hand panels that a task keeps in its second-level cache.
const RIGHT_BYTES: usize = 512 << 10;

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
        let mut left = Self {
            units: zeros(matrix.rows * per_row),
            rows: matrix.rows,
            panels: matrix.rows.div_ceil(set.tile_rows()),
            per_row,
        };
        let starts: Vec<[usize; 2]> = (0..left.panels).map(|panel| left.rows_of(panel)).collect();
        let units = Shared::new(&mut left.units);
        starts.into_par_iter().for_each(|[first, rows]| {
            // SAFETY: panels are disjoint ranges of rows.
            #[allow(unsafe_code)]
            let panel = unsafe { units.part(first * per_row, rows * per_row) };
            pack(matrix, [first, rows], rows, unit, set, panel);
        });
        left
    }

    /// Computes the first row and the number of rows of a panel; heights differ by one at most.
    fn rows_of(&self, panel: usize) -> [usize; 2] {
        let first = panel * self.rows / self.panels;
        let end = (panel + 1) * self.rows / self.panels;
        [first, end - first]
    }

    fn panel(&self, panel: usize) -> (usize, usize, &[u32]) {
        let [first, rows] = self.rows_of(panel);
        let start = first * self.per_row;
        (first, rows, &self.units[start..start + rows * self.per_row])
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
    output: &mut [T],
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

/// Computes `output[m][n] = sum over k of input[m][k] weight[n][k]` and adds a bias.
///
/// # Panics
/// Panics if lengths disagree.
pub(super) fn product<T: Element>(
    set: InstructionSet,
    input: &Matrix<'_, T>,
    weight: &Matrix<'_, T>,
    bias: Bias<'_, T>,
    output: &mut [T],
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

    let panels = n.div_ceil(WIDTH);
    let longest = unit.count(k.min(elements_per_block));
    let fitting = (RIGHT_BYTES / (longest.max(1) * WIDTH * 4)).max(1);
    // Each thread gets four tasks, so that no thread waits long for another.
    let per_task = fitting
        .min(panels.div_ceil(4 * rayon::current_num_threads()))
        .max(1);
    let shared = Shared::new(output);
    for_each_task(
        panels.div_ceil(per_task),
        || (Vec::new(), Vec::new()),
        |(right, sums): &mut (Vec<u32>, Vec<f32>), task| {
            let first_panel = task * per_task;
            let task_panels = per_task.min(panels - first_panel);
            sums.resize(task_panels * m * WIDTH, 0.0);
            for (index, (block, left)) in k_blocks.iter().zip(&left).enumerate() {
                let start = if index == 0 {
                    Sums::New
                } else {
                    Sums::Continued
                };
                let weight = weight.columns(*block);
                let size = unit.count(weight.k) * WIDTH;
                right.resize(task_panels * size, 0);
                for (panel, units) in right.chunks_exact_mut(size).enumerate() {
                    let first = (first_panel + panel) * WIDTH;
                    pack(
                        &weight,
                        [first, WIDTH.min(n - first)],
                        WIDTH,
                        unit,
                        set,
                        units,
                    );
                }
                for panel in 0..left.panels {
                    let (first, rows, units) = left.panel(panel);
                    for (right, sums) in right
                        .chunks_exact(size)
                        .zip(sums.chunks_exact_mut(m * WIDTH))
                    {
                        tile::multiply(
                            set,
                            unit,
                            start,
                            rows,
                            units,
                            right,
                            &mut sums[first * WIDTH..],
                        );
                    }
                }
            }
            for (panel, sums) in sums.chunks_exact(m * WIDTH).enumerate() {
                let first = (first_panel + panel) * WIDTH;
                let columns = WIDTH.min(n - first);
                for (row, sums) in sums.chunks_exact(WIDTH).enumerate() {
                    // SAFETY: tasks write disjoint columns.
                    #[allow(unsafe_code)]
                    let output = unsafe { shared.part(row * n + first, columns) };
                    match bias {
                        Bias::Columns(bias) => {
                            let bias = &bias[first..first + columns];
                            for ((out, sum), bias) in output.iter_mut().zip(sums).zip(bias) {
                                *out = T::from_f32(sum + bias.to_f32());
                            }
                        }
                        Bias::Rows(bias) => {
                            let bias = bias[row].to_f32();
                            for (out, sum) in output.iter_mut().zip(sums) {
                                *out = T::from_f32(sum + bias);
                            }
                        }
                        Bias::None => {
                            for (out, sum) in output.iter_mut().zip(sums) {
                                *out = T::from_f32(*sum);
                            }
                        }
                    }
                }
            }
        },
    );
}
