//! Tiles of a product with AVX2 and fused multiplication.

#![allow(unsafe_code, reason = "vector instructions")]

use std::arch::x86_64::*;

use super::{Sums, WIDTH};

/// Number of rows of a block: 6 x 2 sums of 8, two columns and a row's broadcast take 15 of the 16
/// registers.
const ROWS: usize = 6;
/// Number of columns of a block.
const COLUMNS: usize = 16;

/// Multiplies a tile of any number of rows, in blocks.
///
/// # Safety
/// The CPU must have AVX2 and FMA. `left` must have `rows` units for each WIDTH units of `right`,
/// and `sums` must have `rows` x WIDTH values.
#[target_feature(enable = "avx2,fma")]
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
/// The CPU must have AVX2 and FMA, and all units and sums must be readable and writable.
#[target_feature(enable = "avx2,fma")]
unsafe fn multiply_block<const HEIGHT: usize>(
    left: *const f32,
    stride: usize,
    right: *const f32,
    units: usize,
    start: Sums,
    sums: *mut f32,
) {
    let mut block = [[_mm256_setzero_ps(); 2]; HEIGHT];
    // SAFETY: guaranteed by the caller.
    unsafe {
        for unit in 0..units {
            let right = right.add(unit * WIDTH);
            let columns = [_mm256_loadu_ps(right), _mm256_loadu_ps(right.add(8))];
            let left = left.add(unit * stride);
            for (row, sums) in block.iter_mut().enumerate() {
                let value = _mm256_broadcast_ss(&*left.add(row));
                sums[0] = _mm256_fmadd_ps(value, columns[0], sums[0]);
                sums[1] = _mm256_fmadd_ps(value, columns[1], sums[1]);
            }
        }
        for (row, mut values) in block.into_iter().enumerate() {
            let to = sums.add(row * WIDTH);
            if start == Sums::Continued {
                values[0] = _mm256_add_ps(_mm256_loadu_ps(to), values[0]);
                values[1] = _mm256_add_ps(_mm256_loadu_ps(to.add(8)), values[1]);
            }
            _mm256_storeu_ps(to, values[0]);
            _mm256_storeu_ps(to.add(8), values[1]);
        }
    }
}
