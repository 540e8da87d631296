//! Tiles of a product with NEON.

#![allow(unsafe_code, reason = "vector instructions")]

use std::arch::aarch64::*;

use super::{Sums, WIDTH};

/// Number of rows of a block: 6 x 4 sums of 4, four columns and a row's broadcast take 29 of the 32
/// registers.
const ROWS: usize = 6;
/// Number of columns of a block.
const COLUMNS: usize = 16;
/// Number of vectors of a block's row.
const VECTORS: usize = COLUMNS / 4;

/// Multiplies a tile of any number of rows, in blocks.
///
/// # Safety
/// The CPU must have NEON. `left` must have `rows` units for each WIDTH units of `right`, and `sums`
/// must have `rows` x WIDTH values.
#[target_feature(enable = "neon")]
pub(super) unsafe fn multiply(
    rows: usize,
    left: &[u32],
    right: &[u32],
    start: Sums,
    sums: &mut [f32],
) {
    let units = right.len() / WIDTH;
    let blocks = rows.div_ceil(ROWS);
    for column in (0..WIDTH).step_by(COLUMNS) {
        for block in 0..blocks {
            // The blocks have nearly equal heights.
            let row = block * rows / blocks;
            let height = (block + 1) * rows / blocks - row;
            // SAFETY: the caller guarantees the lengths, and the block lies inside the tile.
            unsafe {
                let left = left.as_ptr().add(row).cast();
                let right = right.as_ptr().add(column).cast();
                let sums = sums.as_mut_ptr().add(row * WIDTH + column);
                match height {
                    1 => multiply_block::<1>(left, rows, right, units, start, sums),
                    2 => multiply_block::<2>(left, rows, right, units, start, sums),
                    3 => multiply_block::<3>(left, rows, right, units, start, sums),
                    4 => multiply_block::<4>(left, rows, right, units, start, sums),
                    5 => multiply_block::<5>(left, rows, right, units, start, sums),
                    _ => multiply_block::<ROWS>(left, rows, right, units, start, sums),
                }
            }
        }
    }
}

/// Multiplies HEIGHT rows, `stride` values apart for each unit, by 16 columns.
///
/// # Safety
/// The CPU must have NEON, and all units and sums must be readable and writable.
#[target_feature(enable = "neon")]
unsafe fn multiply_block<const HEIGHT: usize>(
    left: *const f32,
    stride: usize,
    right: *const f32,
    units: usize,
    start: Sums,
    sums: *mut f32,
) {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut block = [[vdupq_n_f32(0.0); VECTORS]; HEIGHT];
        for unit in 0..units {
            let right = right.add(unit * WIDTH);
            let mut columns = [vdupq_n_f32(0.0); VECTORS];
            for (vector, column) in columns.iter_mut().enumerate() {
                *column = vld1q_f32(right.add(4 * vector));
            }
            let left = left.add(unit * stride);
            for (row, sums) in block.iter_mut().enumerate() {
                let value = vdupq_n_f32(*left.add(row));
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = vfmaq_f32(*sum, value, column);
                }
            }
        }
        for (row, values) in block.into_iter().enumerate() {
            for (vector, mut value) in values.into_iter().enumerate() {
                let to = sums.add(row * WIDTH + 4 * vector);
                if start == Sums::Continued {
                    value = vaddq_f32(vld1q_f32(to), value);
                }
                vst1q_f32(to, value);
            }
        }
    }
}
