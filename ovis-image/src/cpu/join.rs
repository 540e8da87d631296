//! Copies of rows on all threads. Burn's flex copies on one.

use rayon::prelude::*;

/// Number of bytes per task.
const TASK_BYTES: usize = 128 << 10;

/// Rows of bytes at a distance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ByteRows<'a> {
    pub(crate) bytes: &'a [u8],
    /// Distance of the starts of rows in `bytes`.
    pub(crate) stride: usize,
    pub(crate) width: usize,
}

impl<'a> ByteRows<'a> {
    fn row(&self, index: usize) -> &'a [u8] {
        &self.bytes[index * self.stride..][..self.width]
    }
}

/// Writes the rows of all parts side by side.
///
/// # Panics
/// Panics if the output is not a whole number of rows of all parts.
pub(crate) fn join(parts: &[ByteRows<'_>], output: &mut [u8]) {
    let width: usize = parts.iter().map(|part| part.width).sum();
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
                    let (here, rest) = output.split_at_mut(part.width);
                    here.copy_from_slice(part.row(task * rows + index));
                    output = rest;
                }
            }
        });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_all_parts_stand_side_by_side() {
        let first: Vec<u8> = (0..40).collect();
        let second: Vec<u8> = (100..130).collect();
        let parts = [
            ByteRows {
                bytes: &first,
                stride: 4,
                width: 2,
            },
            ByteRows {
                bytes: &second,
                stride: 3,
                width: 3,
            },
        ];
        let mut output = vec![0; 50];
        join(&parts, &mut output);
        assert_eq!(output[..10], [0, 1, 100, 101, 102, 4, 5, 103, 104, 105]);
        assert_eq!(output[45..], [36, 37, 127, 128, 129]);
    }
}
