//! Rounding to bf16 at random.

use half::bf16;
use rayon::prelude::*;

use super::instruction_set::InstructionSet;
use super::output::Unwritten;
use super::vector::vectorized;
use crate::ops::random_bits;

/// Number of elements per task.
const TASK_ELEMENTS: usize = 16 << 10;

/// Rounds values as [`ops::stochastic_round`](crate::ops::stochastic_round) does. Adds random bits to
/// those that bf16 does not have, and cuts these off.
///
/// # Panics
/// Panics if lengths differ.
pub(crate) fn stochastic_round(
    set: InstructionSet,
    values: &[f32],
    rounded: &mut Unwritten<bf16>,
    key: u64,
) {
    assert_eq!(values.len(), rounded.len());
    rounded
        .par_chunks_mut(TASK_ELEMENTS)
        .zip(values.par_chunks(TASK_ELEMENTS))
        .enumerate()
        .for_each(|(task, (rounded, values))| {
            let first = (task * TASK_ELEMENTS) as u32;
            vectorized(
                set,
                #[inline(always)]
                || {
                    for (index, (rounded, value)) in rounded.iter_mut().zip(values).enumerate() {
                        let bits = value.to_bits();
                        // Infinity and NaN have no neighbor to be rounded to.
                        let random = random_bits(key, first + index as u32);
                        let random = if value.is_finite() { random } else { 0 };
                        let bits = bits.wrapping_add(random) >> 16;
                        rounded.write(bf16::from_bits(bits as u16));
                    }
                },
            );
        });
}
