//! Tiles of a product in plain Rust, for CPUs without a kernel of their own.

use super::{Sums, WIDTH};

/// Multiplies a tile; see [`multiply`](super::multiply).
pub(super) fn multiply(rows: usize, left: &[u32], right: &[u32], start: Sums, sums: &mut [f32]) {
    blocks::<4, 16>(rows, left, right, start, sums, |a, b, sum| {
        if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
            a.mul_add(b, sum)
        } else {
            a * b + sum
        }
    });
}

/// Computes blocks of R x C sums that the compiler keeps in vector registers.
#[inline(always)]
fn blocks<const R: usize, const C: usize>(
    rows: usize,
    left: &[u32],
    right: &[u32],
    start: Sums,
    sums: &mut [f32],
    fma: impl Fn(f32, f32, f32) -> f32 + Copy,
) {
    for column in (0..WIDTH).step_by(C) {
        let mut row = 0;
        while row + R <= rows {
            block::<R, C>([rows, row, column], left, right, start, sums, fma);
            row += R;
        }
        while row < rows {
            block::<1, C>([rows, row, column], left, right, start, sums, fma);
            row += 1;
        }
    }
}

#[inline(always)]
fn block<const R: usize, const C: usize>(
    [rows, row, column]: [usize; 3],
    left: &[u32],
    right: &[u32],
    start: Sums,
    sums: &mut [f32],
    fma: impl Fn(f32, f32, f32) -> f32,
) {
    let mut block = [[0.0f32; C]; R];
    for (left, right) in left.chunks_exact(rows).zip(right.chunks_exact(WIDTH)) {
        let (left, right) = (&left[row..row + R], &right[column..column + C]);
        for r in 0..R {
            let a = f32::from_bits(left[r]);
            for c in 0..C {
                block[r][c] = fma(a, f32::from_bits(right[c]), block[r][c]);
            }
        }
    }
    for (r, values) in block.iter().enumerate() {
        let first = (row + r) * WIDTH + column;
        let sums = &mut sums[first..first + C];
        match start {
            Sums::New => sums.copy_from_slice(values),
            Sums::Continued => sums.iter_mut().zip(values).for_each(|(s, v)| *s += v),
        }
    }
}
