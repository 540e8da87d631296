//! Panel of 32 queries, a lane each, on its way over the blocks of keys.

use super::heads::{HeadSizes, Tokens};
use super::packed::Block;
use super::softmax::{Lanes, Softmax};
use crate::cpu::aligned::Aligned;
use crate::cpu::element::Element;
use crate::cpu::output::unwritten;
use crate::cpu::panel::{Matrix, Unit, pack};
use crate::cpu::tile::{self, Sums, WIDTH};
use crate::cpu::vector::vectorized;

/// Queries of a panel and what was summed up for them.
#[derive(Debug, Default)]
pub(super) struct QueryPanel {
    first: usize,
    count: usize,
    /// Right-hand panel of the queries, `[units of head_dim][32]`.
    queries: Aligned<u32>,
    softmax: Softmax,
    /// Sums of weighted values before the division by the sum of the weights, `[head_dim][32]`.
    sums: Vec<f32>,
}

impl QueryPanel {
    /// Starts with new queries; `first` is the position of the first one.
    pub(super) fn start<T: Element>(
        &mut self,
        queries: &Tokens<'_, T>,
        first: usize,
        sizes: &HeadSizes,
    ) {
        (self.first, self.count) = (first, queries.count);
        let units = sizes.unit.count(sizes.head_dim) * WIDTH;
        self.queries.resize(units, 0);
        let HeadSizes { unit, set, .. } = *sizes;
        queries.prefetch(0..self.count);
        let matrix = queries.matrix();
        pack(
            &matrix,
            [0, self.count],
            WIDTH,
            unit,
            set,
            unwritten(&mut self.queries),
        );
        self.softmax = Softmax::default();
        self.sums.resize(sizes.head_dim * WIDTH, 0.0);
    }

    /// Adds the weighted values of a block of keys.
    pub(super) fn attend(
        &mut self,
        block: &Block<'_>,
        causal: bool,
        sizes: &HeadSizes,
        scores: &mut Aligned<f32>,
    ) {
        let HeadSizes { unit, set, .. } = *sizes;
        let seen = if causal {
            let end = self.first + self.count;
            block.keys.min(end.saturating_sub(block.first))
        } else {
            block.keys
        };
        if seen == 0 {
            return;
        }
        scores.resize(block.keys.next_multiple_of(2) * WIDTH, 0.0);
        let units = unit.count(sizes.head_dim);
        for rows in sizes
            .panels(block.keys)
            .take_while(|rows| rows.start < seen)
        {
            let keys = &block.key_panels[rows.start * units..rows.end * units];
            let scores = &mut scores[rows.start * WIDTH..rows.end * WIDTH];
            tile::multiply(
                set,
                unit,
                Sums::New,
                rows.len(),
                keys,
                &self.queries,
                scores,
            );
        }
        if causal {
            self.hide_later_keys(block.first, seen, scores);
        }
        let scale = 1.0 / (sizes.head_dim as f32).sqrt();
        let factors = self.softmax.weigh(sizes, seen, scale, scores);
        let start = if block.first == 0 {
            Sums::New
        } else {
            self.rescale(&factors, sizes);
            Sums::Continued
        };
        let weights = &bytemuck::cast_slice(scores)[..unit.count(seen) * WIDTH];
        let units = unit.count(block.keys);
        for rows in sizes.panels(sizes.head_dim) {
            let values = &block.value_panels[rows.start * units..][..rows.len() * unit.count(seen)];
            let sums = &mut self.sums[rows.start * WIDTH..rows.end * WIDTH];
            tile::multiply(set, unit, start, rows.len(), values, weights, sums);
        }
    }

    /// Sets the scores of keys after their query to minus infinity.
    fn hide_later_keys(&self, first_key: usize, seen: usize, scores: &mut [f32]) {
        let rows = scores.chunks_exact_mut(WIDTH).take(seen).enumerate();
        for (key, scores) in rows {
            let earlier_queries = (first_key + key).saturating_sub(self.first);
            scores[..earlier_queries.min(WIDTH)].fill(f32::NEG_INFINITY);
        }
    }

    fn rescale(&mut self, factors: &Lanes, sizes: &HeadSizes) {
        if factors.iter().all(|factor| *factor == 1.0) {
            return;
        }
        let sums = &mut self.sums;
        vectorized(
            sizes.set,
            #[inline(always)]
            || {
                for sums in sums.as_chunks_mut::<WIDTH>().0 {
                    for (sum, factor) in sums.iter_mut().zip(factors) {
                        *sum *= factor;
                    }
                }
            },
        );
    }

    /// Passes the sums of each query, and the factor that they lack, to `write(query, sums,
    /// factor)`, which is compiled for the instruction set.
    pub(super) fn finish(
        &self,
        sizes: &HeadSizes,
        rows: &mut Vec<u32>,
        mut write: impl FnMut(usize, &[u32], f32),
    ) {
        let head_dim = sizes.head_dim;
        rows.resize(WIDTH * head_dim, 0);
        // Packing transposes: the panel has a line of `head_dim` values for each query.
        let matrix = Matrix::contiguous(&self.sums, [head_dim, WIDTH]);
        pack(
            &matrix,
            [0, head_dim],
            head_dim,
            Unit::F32,
            sizes.set,
            unwritten(rows),
        );
        let totals = self.softmax.totals();
        vectorized(
            sizes.set,
            #[inline(always)]
            || {
                let rows = rows.chunks_exact(head_dim).zip(totals).take(self.count);
                for (query, (values, total)) in rows.enumerate() {
                    write(self.first + query, values, 1.0 / total);
                }
            },
        );
    }
}
