//! Copies of rows on all threads. Burn's flex copies on one.

use rayon::prelude::*;

use super::output::{Unwritten, as_unwritten};

/// Number of bytes per task.
const TASK_BYTES: usize = 128 << 10;

/// Rows of bytes at a distance, each of which has pieces at a distance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ByteRows<'a> {
    pub(crate) bytes: &'a [u8],
    /// Distance of the starts of rows in `bytes`.
    pub(crate) stride: usize,
    pub(crate) pieces: usize,
    /// Distance of the starts of pieces.
    pub(crate) piece_stride: usize,
    /// Number of bytes of a piece.
    pub(crate) piece: usize,
}

impl ByteRows<'_> {
    fn width(&self) -> usize {
        self.pieces * self.piece
    }

    fn copy_row(&self, index: usize, to: &mut Unwritten<u8>) {
        for (piece, to) in to.chunks_exact_mut(self.piece.max(1)).enumerate() {
            let start = index * self.stride + piece * self.piece_stride;
            // `write_copy_of_slice` is newer than the oldest supported compiler.
            to.copy_from_slice(as_unwritten(&self.bytes[start..start + self.piece]));
        }
    }
}

/// Writes the rows of all parts side by side, and so every byte of the output.
///
/// # Panics
/// Panics if the output is not a whole number of rows of all parts.
pub(crate) fn join(parts: &[ByteRows<'_>], output: &mut Unwritten<u8>) {
    let width: usize = parts.iter().map(ByteRows::width).sum();
    if output.is_empty() {
        return;
    }
    assert!(width > 0 && output.len().is_multiple_of(width));
    let rows = (TASK_BYTES / width).max(1);
    output
        .par_chunks_mut(rows * width)
        .enumerate()
        .for_each(|(task, output)| {
            for (index, mut output) in output.chunks_exact_mut(width).enumerate() {
                for part in parts {
                    let (here, rest) = output.split_at_mut(part.width());
                    part.copy_row(task * rows + index, here);
                    output = rest;
                }
            }
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::output::unwritten;

    #[test]
    fn rows_of_all_parts_stand_side_by_side() {
        let first: Vec<u8> = (0..40).collect();
        let second: Vec<u8> = (100..130).collect();
        let parts = [
            ByteRows {
                bytes: &first,
                stride: 4,
                pieces: 2,
                piece_stride: 3,
                piece: 1,
            },
            ByteRows {
                bytes: &second,
                stride: 3,
                pieces: 1,
                piece_stride: 0,
                piece: 3,
            },
        ];
        let mut output = vec![0; 50];
        join(&parts, unwritten(&mut output));
        assert_eq!(output[..10], [0, 3, 100, 101, 102, 4, 7, 103, 104, 105]);
        assert_eq!(output[45..], [36, 39, 127, 128, 129]);
    }
}
