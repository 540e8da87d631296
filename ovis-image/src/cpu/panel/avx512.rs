//! Packing with AVX-512: blocks of 16x16 units are transposed in registers.

#![allow(unsafe_code, reason = "vector instructions")]

use std::arch::x86_64::*;

use super::{Element, Kind, Matrix, Unit, Unwritten};

/// Packs as many whole blocks of 16 units as the rows have and returns their number of units.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn pack_by_rows<T: Element>(
    matrix: &Matrix<'_, T>,
    [first, rows]: [usize; 2],
    width: usize,
    unit: Unit,
    panel: &mut Unwritten<u32>,
) -> usize {
    let per_unit = match unit {
        Unit::F32 => 1,
        Unit::Bf16Pair => 2,
    };
    let blocks = matrix.k / (16 * per_unit);
    for lane in (0..width).step_by(16) {
        let lanes = (width - lane).min(16);
        let mask = (u32::MAX >> (32 - lanes)) as __mmask16;
        let present = rows.saturating_sub(lane).min(16);
        for block in 0..blocks {
            let mut vectors = [_mm512_setzero_si512(); 16];
            for (row, vector) in vectors.iter_mut().enumerate().take(present) {
                let start = (first + lane + row) * matrix.row_stride + block * 16 * per_unit;
                debug_assert!(start + 16 * per_unit <= matrix.data.len());
                // SAFETY: the row has `blocks * 16 * per_unit` elements from its start.
                *vector = unsafe { load::<T>(matrix.data.as_ptr().add(start), unit) };
            }
            let columns = transpose(vectors);
            for (u, column) in columns.into_iter().enumerate() {
                let start = (block * 16 + u) * width + lane;
                // SAFETY: `start + lanes` is at most the end of the unit's `width` lanes.
                unsafe {
                    _mm512_mask_storeu_epi32(panel.as_mut_ptr().add(start).cast(), mask, column);
                }
            }
        }
    }
    blocks * 16
}

/// Loads 16 units.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn load<T: Element>(from: *const T, unit: Unit) -> __m512i {
    // SAFETY: the caller guarantees 16 units behind `from`.
    unsafe {
        match (T::KIND, unit) {
            (Kind::F32, _) | (Kind::Bf16, Unit::Bf16Pair) => _mm512_loadu_si512(from.cast()),
            (Kind::Bf16, Unit::F32) => {
                let halves = _mm256_loadu_si256(from.cast());
                _mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16)
            }
            (Kind::F16, _) => {
                let halves = _mm256_loadu_si256(from.cast());
                _mm512_castps_si512(_mm512_cvtph_ps(halves))
            }
        }
    }
}

/// Transposes a 16x16 matrix.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
    let zero = _mm512_setzero_si512();
    let (mut a, mut b) = ([zero; 16], [zero; 16]);
    for i in 0..8 {
        a[2 * i] = _mm512_unpacklo_epi32(rows[2 * i], rows[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_epi32(rows[2 * i], rows[2 * i + 1]);
    }
    for i in 0..4 {
        for j in 0..2 {
            b[4 * i + 2 * j] = _mm512_unpacklo_epi64(a[4 * i + j], a[4 * i + 2 + j]);
            b[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(a[4 * i + j], a[4 * i + 2 + j]);
        }
    }
    // b[4 i + j] holds column 4 q + j of rows 4 i .. 4 i + 4 in its 128-bit lane q.
    let mut columns = [zero; 16];
    for j in 0..4 {
        let low01 = _mm512_shuffle_i32x4(b[j], b[4 + j], 0b01_00_01_00);
        let low23 = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0b01_00_01_00);
        let high01 = _mm512_shuffle_i32x4(b[j], b[4 + j], 0b11_10_11_10);
        let high23 = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0b11_10_11_10);
        columns[j] = _mm512_shuffle_i32x4(low01, low23, 0b10_00_10_00);
        columns[4 + j] = _mm512_shuffle_i32x4(low01, low23, 0b11_01_11_01);
        columns[8 + j] = _mm512_shuffle_i32x4(high01, high23, 0b10_00_10_00);
        columns[12 + j] = _mm512_shuffle_i32x4(high01, high23, 0b11_01_11_01);
    }
    columns
}
