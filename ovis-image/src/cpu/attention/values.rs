//! Packing of values as left-hand panels, whose rows are channels.

use std::ops::Range;

use super::heads::{HeadSizes, Tokens};
use crate::cpu::element::Element;
use crate::cpu::panel::Unit;
use crate::cpu::tile::MAX_ROWS;
use crate::cpu::vector::vectorized;

/// Number of units that are copied at a time, at least as many as a panel has rows.
const STEP: usize = 16;
const _: () = assert!(STEP >= MAX_ROWS);
/// Number of tokens between the one that is packed and the one that is asked for.
const AHEAD: usize = 8;

/// Packs values as panels `[units of tokens][rows]`, a token or pair of tokens after the other:
/// with one panel after the other, tokens would be read again for each.
pub(super) fn pack_values<T: Element>(
    values: &Tokens<'_, T>,
    sizes: &HeadSizes,
    packed: &mut [u32],
) {
    let panels: Vec<Range<usize>> = sizes.panels(sizes.head_dim).collect();
    let mut line = vec![0; sizes.head_dim + STEP];
    vectorized(
        sizes.set,
        #[inline(always)]
        || {
            let units = sizes.unit.count(values.count);
            for unit in 0..units {
                match sizes.unit {
                    Unit::F32 => read_token(values, unit, &mut line),
                    Unit::Bf16Pair => read_pair(values, 2 * unit, &mut line),
                }
                for rows in &panels {
                    let start = rows.start * units + unit * rows.len();
                    // A whole step also writes to the panel's next units, which come later.
                    let count = if start + STEP <= rows.end * units {
                        STEP
                    } else {
                        rows.len()
                    };
                    copy(&line[rows.start..], &mut packed[start..], count);
                }
            }
        },
    );
}

/// Copies `count` units, without a call if they are a whole step.
#[inline(always)]
fn copy(from: &[u32], to: &mut [u32], count: usize) {
    match (from.first_chunk::<STEP>(), to.first_chunk_mut::<STEP>()) {
        (Some(from), Some(to)) if count == STEP => *to = *from,
        _ => to[..count].copy_from_slice(&from[..count]),
    }
}

#[inline(always)]
fn read_token<T: Element>(values: &Tokens<'_, T>, token: usize, line: &mut [u32]) {
    values.prefetch(token + AHEAD..token + AHEAD + 1);
    for (unit, value) in line.iter_mut().zip(values.row(token)) {
        *unit = value.to_f32().to_bits();
    }
}

/// Joins two tokens of bf16; a last token without a neighbor gets zeros.
#[inline(always)]
fn read_pair<T: Element>(values: &Tokens<'_, T>, token: usize, line: &mut [u32]) {
    values.prefetch(token + AHEAD..token + AHEAD + 2);
    for (unit, value) in line.iter_mut().zip(values.row(token)) {
        *unit = value.to_f32().to_bits() >> 16;
    }
    if token + 1 < values.count {
        for (unit, value) in line.iter_mut().zip(values.row(token + 1)) {
            // The bits of a bf16 are the upper half of the f32.
            *unit |= value.to_f32().to_bits();
        }
    }
}
