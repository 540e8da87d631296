//! Inner loop of a product: a tile of a few rows by one panel's width, summed in registers.

use super::panel::Unit;
use super::simd::Simd;

/// Number of columns of a tile, the width of a right-hand panel.
pub(crate) const WIDTH: usize = 32;

/// Number of rows of the tallest tile: with AVX-512, 14 x 2 sums, two columns and a row's broadcast
/// fill the 32 registers.
pub(crate) const MAX_ROWS: usize = 14;

/// Treatment of the existing sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sums {
    /// Overwrites the sums.
    New,
    /// Adds to the sums.
    Continued,
}

/// Writes or adds the product of a left panel `[units][rows]` and a right panel `[units][WIDTH]`
/// to `sums`, `[rows][WIDTH]`.
///
/// # Panics
/// Panics if a slice is too short or there are more than [`MAX_ROWS`] rows.
pub(crate) fn multiply(
    simd: Simd,
    unit: Unit,
    start: Sums,
    rows: usize,
    left: &[u32],
    right: &[u32],
    sums: &mut [f32],
) {
    assert!(
        (1..=MAX_ROWS).contains(&rows)
            && left.len() / rows == right.len() / WIDTH
            && sums.len() >= rows * WIDTH
    );
    macro_rules! by_rows {
        ($($kernel:ident)::+) => {
            match rows {
                1 => $($kernel)::+::<1>(left, right, start, sums),
                2 => $($kernel)::+::<2>(left, right, start, sums),
                3 => $($kernel)::+::<3>(left, right, start, sums),
                4 => $($kernel)::+::<4>(left, right, start, sums),
                5 => $($kernel)::+::<5>(left, right, start, sums),
                6 => $($kernel)::+::<6>(left, right, start, sums),
                7 => $($kernel)::+::<7>(left, right, start, sums),
                8 => $($kernel)::+::<8>(left, right, start, sums),
                9 => $($kernel)::+::<9>(left, right, start, sums),
                10 => $($kernel)::+::<10>(left, right, start, sums),
                11 => $($kernel)::+::<11>(left, right, start, sums),
                12 => $($kernel)::+::<12>(left, right, start, sums),
                13 => $($kernel)::+::<13>(left, right, start, sums),
                _ => $($kernel)::+::<14>(left, right, start, sums),
            }
        };
    }
    match (simd, unit) {
        // SAFETY (all): `simd` says that the CPU has these instructions, and the lengths were
        // checked above.
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        (Simd::Avx512Bf16, Unit::Bf16Pair) => unsafe { by_rows!(x86::bf16_pairs) },
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        (Simd::Avx512Bf16 | Simd::Avx512, Unit::F32) => unsafe { by_rows!(x86::avx512) },
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        (Simd::Avx2, Unit::F32) => unsafe { avx2(rows, left, right, start, sums) },
        (_, Unit::F32) => plain(rows, left, right, start, sums),
        (_, Unit::Bf16Pair) => {
            unreachable!("`Unit::of` gives pairs only to CPUs that multiply them")
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(rows: usize, left: &[u32], right: &[u32], start: Sums, sums: &mut [f32]) {
    // 4 x 2 sums of 8, two columns and a broadcast: 11 of the 16 registers.
    blocks::<4, 16>(rows, left, right, start, sums, |a, b, sum| {
        a.mul_add(b, sum)
    });
}

fn plain(rows: usize, left: &[u32], right: &[u32], start: Sums, sums: &mut [f32]) {
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

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Sums, WIDTH};

    /// Multiplies a tile of ROWS rows with AVX-512.
    ///
    /// # Safety
    /// `left` must have ROWS units for each WIDTH units of `right`, and `sums` must have ROWS x
    /// WIDTH values.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn avx512<const ROWS: usize>(
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
    /// Same as [`avx512`].
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
}
