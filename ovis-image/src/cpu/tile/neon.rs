//! Tiles of a product with NEON.

#![allow(unsafe_code, reason = "vector instructions")]

use std::arch::aarch64::*;

use super::blocks::{COLUMNS, multiply_in_blocks};
use super::{Sums, WIDTH};

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
    multiply_in_blocks!(multiply_block, rows, left, right, start, sums);
}

/// Multiplies HEIGHT rows, `stride` values apart for each unit, by 16 columns. The 6 x 4 sums of 4 of
/// the highest block, four columns and a row's broadcast take 29 of the 32 registers.
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
