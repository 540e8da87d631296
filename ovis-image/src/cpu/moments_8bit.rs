//! AdamW with moments in 8 bits, in one pass over the parameter and its state.

use rayon::prelude::*;

use super::instruction_set::InstructionSet;
use super::vector::vectorized;
use crate::ops::{AdamWStep, DynamicMap, MOMENT_BLOCK, SMALLEST_SCALE};

/// Number of blocks per task.
const TASK_BLOCKS: usize = 64;

/// Moment in 8 bits, as in [`QuantizedMoment`](crate::ops::QuantizedMoment).
#[derive(Debug)]
pub(crate) struct Moment8bit<'a> {
    /// Codes of whole blocks.
    pub(crate) codes: &'a mut [u8],
    /// Scale of each block.
    pub(crate) scales: &'a mut [f32],
}

impl<'a> Moment8bit<'a> {
    fn tasks(self) -> impl IndexedParallelIterator<Item = Self> {
        let codes = self.codes.par_chunks_mut(TASK_BLOCKS * MOMENT_BLOCK);
        let scales = self.scales.par_chunks_mut(TASK_BLOCKS);
        codes
            .zip(scales)
            .map(|(codes, scales)| Self { codes, scales })
    }

    fn blocks(self) -> impl Iterator<Item = (&'a mut [u8], &'a mut f32)> {
        self.codes.chunks_mut(MOMENT_BLOCK).zip(self.scales)
    }
}

/// Applies one step of AdamW in place.
///
/// # Panics
/// Panics if lengths do not fit.
pub(crate) fn adamw_8bit(
    set: InstructionSet,
    parameter: &mut [f32],
    [first, second]: [Moment8bit<'_>; 2],
    gradient: &[f32],
    step: AdamWStep,
) {
    let (length, blocks) = (parameter.len(), parameter.len().div_ceil(MOMENT_BLOCK));
    assert_eq!(gradient.len(), length);
    for moment in [&first, &second] {
        assert_eq!(moment.scales.len(), blocks);
        assert_eq!(moment.codes.len(), blocks * MOMENT_BLOCK);
    }
    parameter
        .par_chunks_mut(TASK_BLOCKS * MOMENT_BLOCK)
        .zip(gradient.par_chunks(TASK_BLOCKS * MOMENT_BLOCK))
        .zip(first.tasks().zip(second.tasks()))
        .for_each(|((parameter, gradient), (first, second))| {
            let values = parameter.chunks_mut(MOMENT_BLOCK);
            let values = values.zip(gradient.chunks(MOMENT_BLOCK));
            let moments = first.blocks().zip(second.blocks());
            for ((parameter, gradient), (first, second)) in values.zip(moments) {
                block(set, parameter, [first, second], gradient, step);
            }
        });
}

/// Applies one step to the values that share their scales.
fn block(
    set: InstructionSet,
    parameter: &mut [f32],
    [first, second]: [(&mut [u8], &mut f32); 2],
    gradient: &[f32],
    step: AdamWStep,
) {
    // Values after the end of the parameter stay zero.
    let (mut m, mut v) = ([0.0; MOMENT_BLOCK], [0.0; MOMENT_BLOCK]);
    let count = parameter.len();
    read(&mut m[..count], first.0, *first.1, DynamicMap::Signed);
    read(&mut v[..count], second.0, *second.1, DynamicMap::Unsigned);
    vectorized(
        set,
        #[inline(always)]
        || {
            let moments = m.iter_mut().zip(&mut v);
            for ((p, (m, v)), g) in parameter.iter_mut().zip(moments).zip(gradient) {
                let g = g * step.gradient_scale;
                *m += (g - *m) * (1.0 - step.beta1);
                *v = *v * step.beta2 + g * g * (1.0 - step.beta2);
                let denominator = v.sqrt() / step.second_correction + step.eps;
                *p = *p * step.decay - *m / denominator * step.step_size;
            }
        },
    );
    *first.1 = write(set, &m, first.0, DynamicMap::Signed);
    *second.1 = write(set, &v, second.0, DynamicMap::Unsigned);
}

fn read(values: &mut [f32], codes: &[u8], scale: f32, map: DynamicMap) {
    let numbers = map.numbers();
    for (value, code) in values.iter_mut().zip(codes) {
        *value = numbers[usize::from(*code)] * scale;
    }
}

/// Writes the codes of a block, and returns its scale.
fn write(
    set: InstructionSet,
    values: &[f32; MOMENT_BLOCK],
    codes: &mut [u8],
    map: DynamicMap,
) -> f32 {
    let bounds = map.bounds();
    vectorized(
        set,
        #[inline(always)]
        || {
            let largest = values.iter().fold(0.0f32, |scale, value| {
                if value.abs() > scale {
                    value.abs()
                } else {
                    scale
                }
            });
            let divisor = if largest > SMALLEST_SCALE {
                largest
            } else {
                SMALLEST_SCALE
            };
            for (code, value) in codes.iter_mut().zip(values) {
                let value = value / divisor;
                let mut found = 0usize;
                for step in [128, 64, 32, 16, 8, 4, 2, 1] {
                    found += if value > bounds[found + step - 1] {
                        step
                    } else {
                        0
                    };
                }
                *code = found as u8;
            }
            largest
        },
    )
}
