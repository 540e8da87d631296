//! Views of queries, keys and values, and the sizes of a head.

use std::ops::Range;

use crate::cpu::element::Element;
use crate::cpu::even_parts::even_parts_of;
use crate::cpu::instruction_set::InstructionSet;
use crate::cpu::panel::{Matrix, Unit};

/// View of a tensor `[batch, heads, tokens, head_dim]` with any strides except the last, which is
/// one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads<'a, T> {
    pub(crate) data: &'a [T],
    /// Strides of the batch, head and token axes.
    pub(crate) strides: [usize; 3],
}

impl<'a, T: Element> Heads<'a, T> {
    /// Selects the tokens `first .. first + count` of one head.
    pub(in crate::cpu) fn tokens(
        &self,
        [batch, head]: [usize; 2],
        [first, count]: [usize; 2],
        head_dim: usize,
    ) -> Tokens<'a, T> {
        let [batches, heads, stride] = self.strides;
        Tokens {
            data: &self.data[batch * batches + head * heads + first * stride..],
            stride,
            count,
            head_dim,
        }
    }
}

/// Neighboring tokens of a head.
#[derive(Debug, Clone, Copy)]
pub(in crate::cpu) struct Tokens<'a, T> {
    data: &'a [T],
    stride: usize,
    pub(in crate::cpu) count: usize,
    head_dim: usize,
}

impl<'a, T: Element> Tokens<'a, T> {
    /// Returns the channels of a token.
    #[inline(always)]
    pub(super) fn row(&self, token: usize) -> &'a [T] {
        &self.data[token * self.stride..][..self.head_dim]
    }

    /// Views the tokens as a matrix with a row each.
    pub(in crate::cpu) fn matrix(&self) -> Matrix<'a, T> {
        Matrix::new(self.data, [self.count, self.head_dim], [self.stride, 1])
    }

    /// Asks for tokens that are read soon, if there are any. Their rows lie apart, and packing
    /// would wait for each.
    #[inline(always)]
    pub(super) fn prefetch(&self, tokens: Range<usize>) {
        #[cfg(target_arch = "x86_64")]
        for token in tokens.start..tokens.end.min(self.count) {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            for line in self.row(token).chunks(64 / size_of::<T>()) {
                // SAFETY: all CPUs of this architecture have the instruction, which only reads
                // what may be read.
                #[allow(unsafe_code)]
                unsafe {
                    _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = tokens;
    }
}

/// Sizes of a head, and how it is packed.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadSizes {
    pub(super) keys: usize,
    pub(super) head_dim: usize,
    pub(super) unit: Unit,
    pub(super) set: InstructionSet,
}

impl HeadSizes {
    /// Number of units of the packed keys of a block.
    pub(super) fn key_units(&self, keys: usize) -> usize {
        keys * self.unit.count(self.head_dim)
    }

    /// Number of units of the packed values of a block.
    pub(super) fn value_units(&self, keys: usize) -> usize {
        self.unit.count(keys) * self.head_dim
    }

    /// Splits rows into panels of nearly equal heights.
    pub(super) fn panels(&self, rows: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        even_parts_of(rows, self.set.tile_rows())
    }
}
