//! Tiles of a product with AVX-512.

#![allow(unsafe_code, reason = "vector instructions")]

use std::arch::x86_64::*;

use super::{Sums, WIDTH};

/// Multiplies a tile of ROWS rows with AVX-512.
///
/// # Safety
/// `left` must have ROWS units for each WIDTH units of `right`, and `sums` must have ROWS x
/// WIDTH values.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn f32<const ROWS: usize>(
    left: &[u32],
    right: &[u32],
    start: Sums,
    sums: &mut [f32],
) {
    let (a, b): (*const f32, *const f32) = (left.as_ptr().cast(), right.as_ptr().cast());
    // SAFETY: guaranteed by the caller; every access is inside those lengths.
    unsafe {
        let mut tile = [[_mm512_setzero_ps(); 2]; ROWS];
        for k in 0..right.len() / WIDTH {
            let b0 = _mm512_loadu_ps(b.add(k * WIDTH));
            let b1 = _mm512_loadu_ps(b.add(k * WIDTH + 16));
            for (row, sums) in tile.iter_mut().enumerate() {
                let a = _mm512_set1_ps(*a.add(k * ROWS + row));
                sums[0] = _mm512_fmadd_ps(a, b0, sums[0]);
                sums[1] = _mm512_fmadd_ps(a, b1, sums[1]);
            }
        }
        store(tile, start, sums);
    }
}

/// Multiplies a tile of ROWS rows of bf16 pairs with AVX-512.
///
/// # Safety
/// Same as [`f32`].
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn bf16_pairs<const ROWS: usize>(
    left: &[u32],
    right: &[u32],
    start: Sums,
    sums: &mut [f32],
) {
    let (a, b): (*const i32, *const i32) = (left.as_ptr().cast(), right.as_ptr().cast());
    // SAFETY: guaranteed by the caller; the casts between vectors of 64 bytes keep every bit.
    unsafe {
        let pairs = |vector: __m512i| std::mem::transmute::<__m512i, __m512bh>(vector);
        let mut tile = [[_mm512_setzero_ps(); 2]; ROWS];
        for k in 0..right.len() / WIDTH {
            let b0 = pairs(_mm512_loadu_si512(b.add(k * WIDTH).cast()));
            let b1 = pairs(_mm512_loadu_si512(b.add(k * WIDTH + 16).cast()));
            for (row, sums) in tile.iter_mut().enumerate() {
                let a = pairs(_mm512_set1_epi32(*a.add(k * ROWS + row)));
                sums[0] = _mm512_dpbf16_ps(sums[0], a, b0);
                sums[1] = _mm512_dpbf16_ps(sums[1], a, b1);
            }
        }
        store(tile, start, sums);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store<const ROWS: usize>(tile: [[__m512; 2]; ROWS], start: Sums, sums: &mut [f32]) {
    for (row, mut values) in tile.into_iter().enumerate() {
        // SAFETY: `sums` has ROWS x WIDTH values.
        unsafe {
            let to = sums.as_mut_ptr().add(row * WIDTH);
            if start == Sums::Continued {
                values[0] = _mm512_add_ps(_mm512_loadu_ps(to), values[0]);
                values[1] = _mm512_add_ps(_mm512_loadu_ps(to.add(16)), values[1]);
            }
            _mm512_storeu_ps(to, values[0]);
            _mm512_storeu_ps(to.add(16), values[1]);
        }
    }
}
