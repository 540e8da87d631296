//! New buffers, cleared on all threads: one thread alone would clear, and fault in, the pages of a
//! large one while the others wait.

use std::mem::MaybeUninit;

use bytemuck::Zeroable;
use rayon::prelude::*;

/// Number of elements per task.
const TASK: usize = 64 << 10;

/// Creates a vector of zeros.
pub(crate) fn zeros<T: Zeroable + Copy + Send + Sync>(length: usize) -> Vec<T> {
    if length <= TASK {
        return vec![T::zeroed(); length];
    }
    let mut values = Vec::with_capacity(length);
    values.spare_capacity_mut()[..length]
        .par_chunks_mut(TASK)
        .for_each(|part| part.fill(MaybeUninit::new(T::zeroed())));
    // SAFETY: all of the first `length` elements were written, and the capacity is as large.
    #[allow(unsafe_code)]
    unsafe {
        values.set_len(length);
    }
    values
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
}
