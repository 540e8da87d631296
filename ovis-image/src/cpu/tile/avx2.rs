//! Tiles of a product with AVX2 and fused multiplication.

#![allow(unsafe_code, reason = "vector instructions")]

use std::arch::x86_64::*;

use super::blocks::multiply_in_blocks;
use super::{Sums, WIDTH};

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
    multiply_in_blocks!(multiply_block, rows, left, right, start, sums);
}

/// Multiplies HEIGHT rows, `stride` values apart for each unit, by 16 columns. The 6 x 2 sums of 8 of
/// the highest block, two columns and a row's broadcast take 15 of the 16 registers.
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
