//! Packing with AVX2: blocks of 8x8 values are transposed in registers.

#![allow(unsafe_code, reason = "vector instructions")]

use std::arch::x86_64::*;
use std::mem::MaybeUninit;

use super::{Element, Kind, Matrix, Unwritten};

/// Side of a block.
const SIDE: usize = 8;

/// Packs as many whole blocks of 8 values of f32 as the rows have and returns their number of
/// values.
///
/// # Safety
/// The CPU must have AVX2 and F16C. The rows `first .. first + rows` must be inside the matrix, with
/// neighboring elements, and `panel` must have `width` units for each of their elements.
#[target_feature(enable = "avx2,f16c")]
pub(super) unsafe fn pack_by_rows<T: Element>(
    matrix: &Matrix<'_, T>,
    [first, rows]: [usize; 2],
    width: usize,
    panel: &mut Unwritten<u32>,
) -> usize {
    let blocks = matrix.k / SIDE;
    // Whole vectors are stored, so the last lanes of a group that is not whole overwrite the first
    // lanes of the next units. That group is packed first, and the others put those right.
    let rest = width / SIDE * SIDE;
    let groups = std::iter::once(rest).chain((0..rest).step_by(SIDE));
    for lane in groups.filter(|lane| *lane < width) {
        let lanes = SIDE.min(width - lane);
        let present = rows.saturating_sub(lane).min(SIDE);
        for block in 0..blocks {
            let mut vectors = [_mm256_setzero_ps(); SIDE];
            for (row, vector) in vectors.iter_mut().enumerate().take(present) {
                let start = (first + lane + row) * matrix.row_stride + block * SIDE;
                debug_assert!(start + SIDE <= matrix.data.len());
                // SAFETY: the row has `blocks * SIDE` elements from its start.
                *vector = unsafe { load::<T>(matrix.data.as_ptr().add(start)) };
            }
            for (index, column) in transpose(vectors).into_iter().enumerate() {
                let start = (block * SIDE + index) * width + lane;
                if start + SIDE <= panel.len() {
                    // SAFETY: checked just now.
                    unsafe { _mm256_storeu_ps(panel.as_mut_ptr().add(start).cast(), column) };
                } else {
                    let mut values = [0u32; SIDE];
                    // SAFETY: the array has the size of a vector.
                    unsafe { _mm256_storeu_ps(values.as_mut_ptr().cast(), column) };
                    let values = values.map(MaybeUninit::new);
                    panel[start..start + lanes].copy_from_slice(&values[..lanes]);
                }
            }
        }
    }
    blocks * SIDE
}

/// Loads 8 values as f32.
///
/// # Safety
/// The CPU must have AVX2 and F16C, and 8 values must be readable.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn load<T: Element>(from: *const T) -> __m256 {
    // SAFETY: guaranteed by the caller.
    unsafe {
        match T::KIND {
            Kind::F32 => _mm256_loadu_ps(from.cast()),
            Kind::Bf16 => {
                let halves = _mm_loadu_si128(from.cast());
                _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16))
            }
            Kind::F16 => _mm256_cvtph_ps(_mm_loadu_si128(from.cast())),
        }
    }
}

/// Transposes an 8x8 matrix.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(rows: [__m256; SIDE]) -> [__m256; SIDE] {
    let zero = _mm256_setzero_ps();
    let (mut pairs, mut quads) = ([zero; SIDE], [zero; SIDE]);
    for i in 0..4 {
        pairs[2 * i] = _mm256_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
        pairs[2 * i + 1] = _mm256_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
    }
    for i in 0..2 {
        for j in 0..2 {
            let (a, b) = (pairs[4 * i + j], pairs[4 * i + 2 + j]);
            quads[4 * i + 2 * j] = _mm256_shuffle_ps::<0b01_00_01_00>(a, b);
            quads[4 * i + 2 * j + 1] = _mm256_shuffle_ps::<0b11_10_11_10>(a, b);
        }
    }
    // quads[4 i + j] has column j of rows 4 i .. 4 i + 4 in its low half, and column 4 + j in its
    // high half.
    let mut columns = [zero; SIDE];
    for j in 0..4 {
        columns[j] = _mm256_permute2f128_ps::<0x20>(quads[j], quads[4 + j]);
        columns[4 + j] = _mm256_permute2f128_ps::<0x31>(quads[j], quads[4 + j]);
    }
    columns
}
