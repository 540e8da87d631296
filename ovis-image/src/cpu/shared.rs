//! One output, written by several threads at once in parts that do not overlap.

use std::marker::PhantomData;

/// A slice whose parts tasks write without seeing each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    length: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: it is a `&mut [T]` whose parts are handed out by `part`, whose callers keep them apart.
#[allow(unsafe_code)]
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    /// Shares a slice for as long as it is borrowed.
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            length: slice.len(),
            slice: PhantomData,
        }
    }

    /// A part of the slice.
    ///
    /// # Safety
    /// No two parts that are alive at once overlap.
    ///
    /// # Panics
    /// If the part ends outside the slice.
    #[allow(unsafe_code, clippy::mut_from_ref)]
    pub(crate) unsafe fn part(&self, start: usize, length: usize) -> &mut [T] {
        assert!(start + length <= self.length, "a part outside its slice");
        // SAFETY: inside the slice, and alone there as the caller says.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), length) }
    }
}
