//! Tiles in blocks, for instruction sets whose registers cannot hold the sums of a whole tile.

/// Number of rows of a block.
pub(super) const ROWS: usize = 6;
/// Number of columns of a block.
pub(super) const COLUMNS: usize = 16;

/// Multiplies a tile of any number of rows, in blocks of nearly equal heights, with
/// `kernel::<HEIGHT>(left, stride, right, units, start, sums)` for each block.
///
/// This is a macro because its body must be compiled for the instructions of the caller, who must
/// guarantee that `left` has `rows` units for each WIDTH units of `right`, and `sums` has `rows` x
/// WIDTH values.
macro_rules! multiply_in_blocks {
    ($kernel:ident, $rows:ident, $left:ident, $right:ident, $start:ident, $sums:ident) => {{
        use $crate::cpu::even_parts::even_parts_of;
        use $crate::cpu::tile::WIDTH;
        use $crate::cpu::tile::blocks::{COLUMNS, ROWS};

        let units = $right.len() / WIDTH;
        for column in (0..WIDTH).step_by(COLUMNS) {
            for block in even_parts_of($rows, ROWS) {
                // SAFETY: the caller guarantees the lengths, and the block lies inside the tile.
                unsafe {
                    let left = $left.as_ptr().add(block.start).cast();
                    let right = $right.as_ptr().add(column).cast();
                    let sums = $sums.as_mut_ptr().add(block.start * WIDTH + column);
                    match block.len() {
                        1 => $kernel::<1>(left, $rows, right, units, $start, sums),
                        2 => $kernel::<2>(left, $rows, right, units, $start, sums),
                        3 => $kernel::<3>(left, $rows, right, units, $start, sums),
                        4 => $kernel::<4>(left, $rows, right, units, $start, sums),
                        5 => $kernel::<5>(left, $rows, right, units, $start, sums),
                        _ => $kernel::<ROWS>(left, $rows, right, units, $start, sums),
                    }
                }
            }
        }
    }};
}
pub(super) use multiply_in_blocks;
