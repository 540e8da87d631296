//! Buffers that kernels fill. Clearing a large one first would cost as much as a pass over it, so a
//! kernel gets elements that it may only write.

use std::mem::MaybeUninit;

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Elements that a kernel writes and does not read.
pub(crate) type Unwritten<T> = [MaybeUninit<T>];

/// Views elements as ones to be written.
pub(crate) fn unwritten<T: Pod>(values: &mut [T]) -> &mut Unwritten<T> {
    // SAFETY: the layouts are equal. Kernels assign values and never uninitialized elements, so the
    // slice stays initialized.
    #[allow(unsafe_code)]
    unsafe {
        &mut *(std::ptr::from_mut(values) as *mut Unwritten<T>)
    }
}

/// Views elements as ones that may be copied where elements are to be written.
pub(crate) fn as_unwritten<T: Pod>(values: &[T]) -> &Unwritten<T> {
    // SAFETY: the layouts are equal, and nothing is written through a shared slice.
    #[allow(unsafe_code)]
    unsafe {
        &*(std::ptr::from_ref(values) as *const Unwritten<T>)
    }
}

/// Views elements to be written as bytes to be written.
pub(crate) fn bytes_of<T: Pod>(values: &mut Unwritten<T>) -> &mut Unwritten<u8> {
    let bytes = size_of_val(values);
    // SAFETY: `T` is plain bytes, which have no alignment and may be written in any order.
    #[allow(unsafe_code)]
    unsafe {
        std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), bytes)
    }
}

/// Creates a vector of the elements that `fill` writes.
///
/// # Safety
/// `fill` must write every element, unless it panics.
#[allow(unsafe_code)]
pub(crate) unsafe fn filled<T: Pod>(length: usize, fill: impl FnOnce(&mut Unwritten<T>)) -> Vec<T> {
    let mut values = Vec::with_capacity(length);
    fill(&mut values.spare_capacity_mut()[..length]);
    // SAFETY: the capacity is as large, and the caller guarantees that all elements are written.
    unsafe {
        values.set_len(length);
    }
    values
}

/// Number of elements per task.
const TASK: usize = 64 << 10;

/// Creates a vector of zeros, cleared on all threads if it is large.
pub(crate) fn zeros<T: Pod + Zeroable + Send + Sync>(length: usize) -> Vec<T> {
    if length <= TASK {
        return vec![T::zeroed(); length];
    }
    // SAFETY: the parts are all elements, and each is filled.
    #[allow(unsafe_code)]
    unsafe {
        filled(length, |values| {
            values
                .par_chunks_mut(TASK)
                .for_each(|part| part.fill(MaybeUninit::new(T::zeroed())));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_and_large_buffers_are_zero() {
        for length in [0, 1, TASK, TASK + 1, 3 * TASK + 7] {
            let values: Vec<f32> = zeros(length);
            assert!(values.len() == length && values.iter().all(|value| *value == 0.0));
        }
    }

    #[test]
    fn elements_that_are_viewed_as_unwritten_keep_their_values() {
        let mut values = [1u32, 2, 3];
        unwritten(&mut values)[1].write(7);
        assert_eq!(values, [1, 7, 3]);
    }
}
