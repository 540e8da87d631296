//! Matrices rearranged into panels, in the order in which the inner loop of a product reads them:
//! `[k][width]`, where a step of k is one 32-bit unit, an f32 or a pair of bf16.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

use std::mem::MaybeUninit;

use super::element::{Element, Kind};
use super::instruction_set::InstructionSet;
use super::output::Unwritten;
use super::vector::vectorized;

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

    /// Returns the data and the distance of rows, whose elements must be neighbors.
    #[cfg(feature = "autodiff")]
    pub(crate) fn rows_of_neighbors(&self) -> (&'a [T], usize) {
        debug_assert_eq!(self.k_stride, 1);
        (self.data, self.row_stride)
    }

    /// Swaps rows and columns: the product then sums over what were the rows.
    #[cfg(feature = "autodiff")]
    pub(crate) fn transposed(&self) -> Self {
        Self {
            rows: self.k,
            k: self.rows,
            row_stride: self.k_stride,
            k_stride: self.row_stride,
            ..*self
        }
    }

    /// Returns whether rows, and not the elements of a row, are neighbors in memory.
    pub(super) fn rows_are_neighbors(&self) -> bool {
        self.row_stride == 1 && self.k_stride != 1
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
    pub(crate) fn of<T: Element>(set: InstructionSet) -> Self {
        match (T::KIND, set) {
            (Kind::Bf16, InstructionSet::Avx512Bf16) => Self::Bf16Pair,
            _ => Self::F32,
        }
    }

    /// Returns the start and length of the elements along k of some units, of `k` in all.
    pub(super) fn elements(self, start: usize, units: usize, k: usize) -> [usize; 2] {
        match self {
            Self::F32 => [start, units],
            Self::Bf16Pair => [2 * start, (2 * units).min(k - 2 * start)],
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
    set: InstructionSet,
    panel: &mut Unwritten<u32>,
) {
    let units = unit.count(matrix.k);
    assert!(rows <= width && first + rows <= matrix.rows && panel.len() == units * width);
    if matrix.rows_are_neighbors() {
        return vectorized(
            set,
            #[inline(always)]
            || pack_by_lanes(matrix, [first, rows], width, unit, panel),
        );
    }
    let whole = match set {
        // SAFETY (both): `set` says that the CPU has these instructions; `pack_by_rows` reads whole
        // vectors inside the rows that were checked above and writes inside `panel`.
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        InstructionSet::Avx512Bf16 | InstructionSet::Avx512 if matrix.k_stride == 1 => unsafe {
            avx512::pack_by_rows(matrix, [first, rows], width, unit, panel)
        },
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        InstructionSet::Avx2 if matrix.k_stride == 1 => unsafe {
            avx2::pack_by_rows(matrix, [first, rows], width, panel)
        },
        _ => 0,
    };
    for u in whole..units {
        let lanes = &mut panel[u * width..(u + 1) * width];
        for (lane, out) in lanes.iter_mut().enumerate() {
            out.write(match (lane < rows, unit) {
                (false, _) => 0,
                (true, Unit::F32) => matrix.at(first + lane, u).to_f32().to_bits(),
                (true, Unit::Bf16Pair) => {
                    let odd = 2 * u + 1;
                    let low = bf16_bits(matrix.at(first + lane, 2 * u));
                    let high = if odd < matrix.k {
                        bf16_bits(matrix.at(first + lane, odd))
                    } else {
                        0
                    };
                    u32::from(low) | u32::from(high) << 16
                }
            });
        }
    }
}

#[inline(always)]
fn bf16_bits<T: Element>(value: T) -> u16 {
    // Exact for bf16, the only type that is passed here.
    (value.to_f32().to_bits() >> 16) as u16
}

/// Packs a panel like [`pack`], for a matrix whose rows are neighbors in memory (a transposed one).
#[inline(always)]
fn pack_by_lanes<T: Element>(
    matrix: &Matrix<'_, T>,
    [first, rows]: [usize; 2],
    width: usize,
    unit: Unit,
    panel: &mut Unwritten<u32>,
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
                    out.write(value.to_f32().to_bits());
                }
            }
            Unit::Bf16Pair if 2 * u + 1 < matrix.k => {
                let (even, odd) = (line(2 * u), line(2 * u + 1));
                for ((out, low), high) in filled.iter_mut().zip(even).zip(odd) {
                    out.write(u32::from(bf16_bits(*low)) | u32::from(bf16_bits(*high)) << 16);
                }
            }
            Unit::Bf16Pair => {
                for (out, low) in filled.iter_mut().zip(line(2 * u)) {
                    out.write(u32::from(bf16_bits(*low)));
                }
            }
        }
        empty.fill(MaybeUninit::new(0));
    }
}
