//! Inner loop of a product: a tile of a few rows by one panel's width, summed in registers.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod blocks;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use super::instruction_set::InstructionSet;
use super::panel::Unit;

/// Number of columns of a tile, the width of a right-hand panel.
pub(crate) const WIDTH: usize = 32;

/// Largest number of rows of a tile, [`InstructionSet::tile_rows`], of all instruction sets.
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
    set: InstructionSet,
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
    #[cfg(target_arch = "x86_64")]
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
    match (set, unit) {
        // SAFETY (all): `set` says that the CPU has these instructions, and the lengths were
        // checked above.
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        (InstructionSet::Avx512Bf16, Unit::Bf16Pair) => unsafe { by_rows!(avx512::bf16_pairs) },
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        (InstructionSet::Avx512Bf16 | InstructionSet::Avx512, Unit::F32) => unsafe {
            by_rows!(avx512::f32)
        },
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        (InstructionSet::Avx2, Unit::F32) => unsafe {
            avx2::multiply(rows, left, right, start, sums)
        },
        #[cfg(target_arch = "aarch64")]
        #[allow(unsafe_code)]
        (InstructionSet::Neon, Unit::F32) => unsafe {
            neon::multiply(rows, left, right, start, sums)
        },
        (_, Unit::F32) => portable::multiply(rows, left, right, start, sums),
        (_, Unit::Bf16Pair) => {
            unreachable!("`Unit::of` gives pairs only to CPUs that multiply them")
        }
    }
}
