//! Even division of a length into parts, of which the longest has one element more than the
//! shortest at most.

use std::ops::Range;

/// Computes the range of a part, given by its index and the number of parts.
#[inline(always)]
pub(super) fn even_part(length: usize, [index, parts]: [usize; 2]) -> Range<usize> {
    index * length / parts..(index + 1) * length / parts
}

/// Divides `0 .. length` into as few parts of at most `longest` elements as possible.
#[inline(always)]
pub(super) fn even_parts_of(
    length: usize,
    longest: usize,
) -> impl ExactSizeIterator<Item = Range<usize>> + use<> {
    let parts = length.div_ceil(longest);
    (0..parts).map(move |index| even_part(length, [index, parts]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_even_and_leave_nothing_out() {
        for length in 0..50 {
            for longest in 1..9 {
                let parts: Vec<Range<usize>> = even_parts_of(length, longest).collect();
                let lengths: Vec<usize> = parts.iter().map(ExactSizeIterator::len).collect();
                assert_eq!(parts.len(), length.div_ceil(longest));
                assert!(lengths.iter().all(|part| *part <= longest));
                let shortest = lengths.iter().min().copied().unwrap_or(0);
                assert!(lengths.iter().all(|part| *part <= shortest + 1));
                let joined: Vec<usize> = parts.into_iter().flatten().collect();
                assert_eq!(joined, (0..length).collect::<Vec<_>>());
            }
        }
    }
}
