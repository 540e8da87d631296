//! Sums over rows beside a pass over rows: each task sums its own rows, and the tasks' sums are
//! added in their order, so that results do not depend on threads.

use rayon::prelude::*;

use crate::cpu::element::Element;
use crate::cpu::instruction_set::InstructionSet;
use crate::cpu::output::Unwritten;
use crate::cpu::rows::Rows;
use crate::cpu::vector::vectorized;

/// Number of elements per task.
const TASK_ELEMENTS: usize = 16 << 10;

/// Rows `[outer][inner]` of an output, and the width of the sums that are collected per outer row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passes {
    pub(super) outer: usize,
    pub(super) inner: usize,
    pub(super) width: usize,
    /// Number of values summed per outer row.
    pub(super) sums: usize,
}

impl Passes {
    /// Calls `row(number, output row, sums)` for every row of the output, threaded, and returns the
    /// sums `[outer][sums]`.
    #[inline(always)]
    pub(super) fn run<T: Element>(
        &self,
        set: InstructionSet,
        output: &mut Unwritten<T>,
        row: impl Fn(usize, &mut Unwritten<T>, &mut [f32]) + Sync,
    ) -> Vec<f32> {
        let Self {
            outer,
            inner,
            width,
            sums,
        } = *self;
        assert_eq!(output.len(), outer * inner * width, "rows of an output");
        if output.is_empty() {
            return vec![0.0; outer * sums];
        }
        assert!(sums > 0, "a pass that sums nothing");
        let per_task = (TASK_ELEMENTS / width).clamp(1, inner);
        let tasks = inner.div_ceil(per_task);
        let mut partial = vec![0.0; outer * tasks * sums];
        let outputs: Vec<&mut Unwritten<T>> = output
            .chunks_exact_mut(inner * width)
            .flat_map(|rows| rows.chunks_mut(per_task * width))
            .collect();
        outputs
            .into_par_iter()
            .zip(partial.par_chunks_exact_mut(sums))
            .enumerate()
            .for_each(|(task, (rows, sums))| {
                let first = task / tasks * inner + task % tasks * per_task;
                vectorized(
                    set,
                    #[inline(always)]
                    || {
                        for (index, output) in rows.chunks_exact_mut(width).enumerate() {
                            row(first + index, output, sums);
                        }
                    },
                );
            });
        partial
            .chunks_exact(tasks * sums)
            .flat_map(|partial| add_up(partial, sums))
            .collect()
    }
}

/// Adds vectors of `width` values that stand one after the other.
pub(super) fn add_up(vectors: &[f32], width: usize) -> Vec<f32> {
    let mut total = vec![0.0; width];
    for vector in vectors.chunks_exact(width.max(1)) {
        for (total, value) in total.iter_mut().zip(vector) {
            *total += value;
        }
    }
    total
}

/// Sums all rows.
pub(super) fn sum_rows<T: Element>(set: InstructionSet, input: Rows<'_, T>) -> Vec<f32> {
    let width = input.width;
    let rows = input.rows();
    let per_task = (TASK_ELEMENTS / width.max(1)).max(1);
    let tasks = rows.div_ceil(per_task);
    let mut partial = vec![0.0; tasks * width];
    partial
        .par_chunks_exact_mut(width.max(1))
        .enumerate()
        .for_each(|(task, sums)| {
            vectorized(
                set,
                #[inline(always)]
                || {
                    for row in task * per_task..rows.min((task + 1) * per_task) {
                        for (sum, value) in sums.iter_mut().zip(input.row(row)) {
                            *sum += value.to_f32();
                        }
                    }
                },
            );
        });
    add_up(&partial, width)
}
