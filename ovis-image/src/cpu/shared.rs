//! Output slice that several threads write at once, in parts that do not overlap.

use std::marker::PhantomData;

/// Slice whose disjoint parts are written by several tasks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    length: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: it is a `&mut [T]` whose parts are handed out by `part`, whose callers keep them
// disjoint.
#[allow(unsafe_code)]
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: same as above.
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

    /// Returns a part of the slice.
    ///
    /// # Safety
    /// Parts that are alive at the same time must not overlap.
    ///
    /// # Panics
    /// Panics if the part ends outside of the slice.
    #[allow(unsafe_code, clippy::mut_from_ref)]
    pub(crate) unsafe fn part(&self, start: usize, length: usize) -> &mut [T] {
        assert!(start + length <= self.length, "a part outside its slice");
        // SAFETY: the part is inside the slice, and the caller guarantees that no other part
        // overlaps it.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), length) }
    }
}
