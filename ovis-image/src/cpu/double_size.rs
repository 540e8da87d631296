//! Planes of twice the height and width: every pixel becomes four. And the way back, which adds the
//! four up.

use rayon::prelude::*;

use super::element::Element;
use super::output::Unwritten;

/// Doubles planes of `[height, width]`; every element of the output is written.
///
/// # Panics
/// Panics if lengths disagree.
pub(crate) fn double_size<T: Element>(
    input: &[T],
    [height, width]: [usize; 2],
    output: &mut Unwritten<T>,
) {
    assert_eq!(output.len(), 4 * input.len());
    if input.is_empty() {
        return;
    }
    let rows = input.par_chunks_exact(width);
    assert_eq!(input.len() % (height * width), 0);
    rows.zip(output.par_chunks_exact_mut(4 * width))
        .with_min_len(64)
        .for_each(|(row, output)| {
            let (first, second) = output.split_at_mut(2 * width);
            let pairs = first.chunks_exact_mut(2).zip(second.chunks_exact_mut(2));
            for (value, (first, second)) in row.iter().zip(pairs) {
                for out in first.iter_mut().chain(second) {
                    out.write(*value);
                }
            }
        });
}

/// Adds up blocks of 2x2 of planes that have rows of `2 * width`; every element of the output is
/// written.
///
/// # Panics
/// Panics if lengths disagree.
#[cfg(feature = "autodiff")]
pub(crate) fn add_blocks<T: Element>(input: &[T], width: usize, output: &mut Unwritten<T>) {
    assert_eq!(input.len(), 4 * output.len());
    if input.is_empty() {
        return;
    }
    assert_eq!(output.len() % width, 0);
    output
        .par_chunks_exact_mut(width)
        .zip(input.par_chunks_exact(4 * width))
        .with_min_len(64)
        .for_each(|(output, rows)| {
            let (first, second) = rows.split_at(2 * width);
            let pairs = first.chunks_exact(2).zip(second.chunks_exact(2));
            for (out, (first, second)) in output.iter_mut().zip(pairs) {
                let sum = first[0].to_f32() + first[1].to_f32();
                out.write(T::from_f32(sum + (second[0].to_f32() + second[1].to_f32())));
            }
        });
}
