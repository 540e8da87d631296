//! Steps of the optimizer, each in one pass over the parameter and its state.

use rayon::prelude::*;

use super::instruction_set::InstructionSet;
use super::vector::{sum, vectorized};
use crate::ops::AdamWStep;

/// Number of elements per task.
const TASK_ELEMENTS: usize = 16 << 10;

/// Applies one step of AdamW in place.
///
/// # Panics
/// Panics if lengths differ.
pub(crate) fn adamw(
    set: InstructionSet,
    parameter: &mut [f32],
    [first, second]: [&mut [f32]; 2],
    gradient: &[f32],
    step: AdamWStep,
) {
    let length = parameter.len();
    assert!(first.len() == length && second.len() == length && gradient.len() == length);
    parameter
        .par_chunks_mut(TASK_ELEMENTS)
        .zip(first.par_chunks_mut(TASK_ELEMENTS))
        .zip(second.par_chunks_mut(TASK_ELEMENTS))
        .zip(gradient.par_chunks(TASK_ELEMENTS))
        .for_each(|(((parameter, first), second), gradient)| {
            vectorized(
                set,
                #[inline(always)]
                || {
                    let moments = first.iter_mut().zip(second);
                    for ((p, (m, v)), g) in parameter.iter_mut().zip(moments).zip(gradient) {
                        let g = g * step.gradient_scale;
                        *m += (g - *m) * (1.0 - step.beta1);
                        *v = *v * step.beta2 + g * g * (1.0 - step.beta2);
                        let denominator = v.sqrt() / step.second_correction + step.eps;
                        *p = *p * step.decay - *m / denominator * step.step_size;
                    }
                },
            );
        });
}

/// Moves values towards others in place: `from + (to - from) * weight`.
///
/// # Panics
/// Panics if lengths differ.
pub(crate) fn blend(set: InstructionSet, from: &mut [f32], to: &[f32], weight: f32) {
    assert_eq!(from.len(), to.len());
    from.par_chunks_mut(TASK_ELEMENTS)
        .zip(to.par_chunks(TASK_ELEMENTS))
        .for_each(|(from, to)| {
            vectorized(
                set,
                #[inline(always)]
                || {
                    for (from, to) in from.iter_mut().zip(to) {
                        *from += (to - *from) * weight;
                    }
                },
            );
        });
}

/// Sums squares, in f64 over tasks of fixed size, so that the result does not depend on threads.
pub(crate) fn sum_of_squares(set: InstructionSet, values: &[f32]) -> f32 {
    let parts: Vec<f64> = values
        .par_chunks(TASK_ELEMENTS)
        .map(|values| {
            let square = vectorized(
                set,
                #[inline(always)]
                || sum(values, |x| x * x),
            );
            f64::from(square)
        })
        .collect();
    parts.iter().sum::<f64>() as f32
}
