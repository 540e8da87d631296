//! Matrices rearranged into panels, in the order in which the inner loop of a product reads them:
//! `[k][width]`, where a step of k is one 32-bit unit, an f32 or a pair of bf16.

use super::element::{Element, Kind};
use super::simd::Simd;

/// Strided matrix of `rows` vectors of `k` elements each; a product sums over `k`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Matrix<'a, T> {
    data: &'a [T],
    pub(crate) rows: usize,
    pub(crate) k: usize,
    row_stride: usize,
    k_stride: usize,
}

impl<'a, T: Element> Matrix<'a, T> {
    /// Creates a view of `data`.
    ///
    /// # Panics
    /// Panics if the last element lies outside of the data.
    pub(crate) fn new(
        data: &'a [T],
        [rows, k]: [usize; 2],
        [row_stride, k_stride]: [usize; 2],
    ) -> Self {
        if rows > 0 && k > 0 {
            let last = (rows - 1) * row_stride + (k - 1) * k_stride;
            assert!(last < data.len(), "a matrix outside its data");
        }
        Self {
            data,
            rows,
            k,
            row_stride,
            k_stride,
        }
    }

    /// Creates a view of rows stored one after the other.
    pub(crate) fn contiguous(data: &'a [T], [rows, k]: [usize; 2]) -> Self {
        Self::new(data, [rows, k], [k, 1])
    }

    /// Selects the elements `start .. start + length` of every row.
    pub(crate) fn columns(&self, [start, length]: [usize; 2]) -> Self {
        let data = &self.data[start * self.k_stride..];
        Self::new(data, [self.rows, length], [self.row_stride, self.k_stride])
    }

    #[inline(always)]
    fn at(&self, row: usize, k: usize) -> T {
        self.data[row * self.row_stride + k * self.k_stride]
    }
}

/// Content of a 32-bit unit of a panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Single f32.
    F32,
    /// Pair of bf16 neighbors along k.
    Bf16Pair,
}

impl Unit {
    /// Selects the unit in which products of `T` are computed.
    pub(crate) fn of<T: Element>(simd: Simd) -> Self {
        match (T::KIND, simd) {
            #[cfg(target_arch = "x86_64")]
            (Kind::Bf16, Simd::Avx512Bf16) => Self::Bf16Pair,
            _ => Self::F32,
        }
    }

    /// Number of units for `k` elements.
    pub(crate) fn count(self, k: usize) -> usize {
        match self {
            Self::F32 => k,
            Self::Bf16Pair => k.div_ceil(2),
        }
    }
}

/// Writes the rows `first .. first + rows` as one panel of `width >= rows` lanes into `panel`,
/// which must have `unit.count(k) * width` units. Lanes without a row become zero.
pub(crate) fn pack<T: Element>(
    matrix: &Matrix<'_, T>,
    [first, rows]: [usize; 2],
    width: usize,
    unit: Unit,
    simd: Simd,
    panel: &mut [u32],
) {
    let units = unit.count(matrix.k);
    assert!(rows <= width && first + rows <= matrix.rows && panel.len() == units * width);
    let whole = match simd {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `simd` says that the CPU has AVX-512F; `pack_by_rows` reads whole vectors
        // inside the rows that were checked above and writes inside `panel`.
        Simd::Avx512Bf16 | Simd::Avx512 if matrix.k_stride == 1 => {
            #[allow(unsafe_code)]
            unsafe {
                x86::pack_by_rows(matrix, [first, rows], width, unit, panel)
            }
        }
        _ => 0,
    };
    if matrix.row_stride == 1 && whole == 0 {
        return pack_by_lanes(matrix, [first, rows], width, unit, panel);
    }
    for u in whole..units {
        let lanes = &mut panel[u * width..(u + 1) * width];
        for (lane, out) in lanes.iter_mut().enumerate() {
            *out = match (lane < rows, unit) {
                (false, _) => 0,
                (true, Unit::F32) => matrix.at(first + lane, u).to_f32().to_bits(),
                (true, Unit::Bf16Pair) => {
                    let odd = 2 * u + 1;
                    let low = bf16_bits(matrix.at(first + lane, 2 * u));
                    let high = match odd < matrix.k {
                        true => bf16_bits(matrix.at(first + lane, odd)),
                        false => 0,
                    };
                    u32::from(low) | u32::from(high) << 16
                }
            };
        }
    }
}

#[inline(always)]
fn bf16_bits<T: Element>(value: T) -> u16 {
    // Exact for bf16, the only type that is passed here.
    (value.to_f32().to_bits() >> 16) as u16
}

/// Packs a panel like [`pack`], for a matrix whose rows are neighbors in memory (a transposed one).
fn pack_by_lanes<T: Element>(
    matrix: &Matrix<'_, T>,
    [first, rows]: [usize; 2],
    width: usize,
    unit: Unit,
    panel: &mut [u32],
) {
    let line = |k: usize| {
        let start = k * matrix.k_stride + first;
        &matrix.data[start..start + rows]
    };
    for (u, lanes) in panel.chunks_exact_mut(width).enumerate() {
        let (filled, empty) = lanes.split_at_mut(rows);
        match unit {
            Unit::F32 => {
                for (out, value) in filled.iter_mut().zip(line(u)) {
                    *out = value.to_f32().to_bits();
                }
            }
            Unit::Bf16Pair if 2 * u + 1 < matrix.k => {
                let (even, odd) = (line(2 * u), line(2 * u + 1));
                for ((out, low), high) in filled.iter_mut().zip(even).zip(odd) {
                    *out = u32::from(bf16_bits(*low)) | u32::from(bf16_bits(*high)) << 16;
                }
            }
            Unit::Bf16Pair => {
                for (out, low) in filled.iter_mut().zip(line(2 * u)) {
                    *out = u32::from(bf16_bits(*low));
                }
            }
        }
        empty.fill(0);
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Element, Kind, Matrix, Unit};

    /// Packs as many whole blocks of 16 units as the rows have and returns their number of units.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn pack_by_rows<T: Element>(
        matrix: &Matrix<'_, T>,
        [first, rows]: [usize; 2],
        width: usize,
        unit: Unit,
        panel: &mut [u32],
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
                        _mm512_mask_storeu_epi32(
                            panel.as_mut_ptr().add(start).cast(),
                            mask,
                            column,
                        );
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
}
