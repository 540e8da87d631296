//! Buffers that start at a cache line, for vectors that never span two.

use std::ops::{Deref, DerefMut};

use aligned_vec::{AVec, ConstAlign};

/// Bytes of a cache line, and of the longest vectors.
const LINE: usize = 64;

/// Vector that starts at a cache line.
///
/// A load that spans two lines costs as much as two: a tile of AVX2 took 7 % longer where the
/// right-hand panel began 16 bytes after a line, as large allocations do (Intel Xeon, 2026-12-01).
#[derive(Debug)]
pub(super) struct Aligned<T>(AVec<T, ConstAlign<LINE>>);

impl<T> Default for Aligned<T> {
    fn default() -> Self {
        Self(AVec::new(LINE))
    }
}

impl<T: Copy> Aligned<T> {
    pub(super) fn resize(&mut self, length: usize, value: T) {
        self.0.resize(length, value);
    }
}

impl<T> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_starts_at_a_line_however_it_grows() {
        let mut buffer = Aligned::default();
        for length in [1_usize, 16, 1000, 100_000] {
            buffer.resize(length, 0_u32);
            assert!(buffer.as_ptr().addr().is_multiple_of(LINE));
            assert_eq!(buffer.len(), length);
        }
    }
}
