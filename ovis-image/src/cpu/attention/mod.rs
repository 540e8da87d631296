//! Attention `softmax(Q K^T / sqrt(head_dim)) V`, computed transposed: `S^T = K Q^T`, then
//! `O^T = V^T P^T`, with 32 queries as the columns of both products. A query is a lane of a vector,
//! so softmax needs no step across lanes, and the weights are the second product's right-hand panel
//! as they stand. Keys come in blocks, with running maxima and sums (arXiv 2205.14135), so weights
//! do not leave the cache.

mod heads;
mod packed;
mod queries;
mod softmax;
mod values;

use std::ops::Range;

use rayon::prelude::*;

use self::heads::HeadSizes;
pub(crate) use self::heads::Heads;
#[cfg(feature = "autodiff")]
pub(super) use self::heads::Tokens;
use self::packed::{BlockMut, PackedHead};
use self::queries::QueryPanel;
use super::aligned::Aligned;
use super::element::Element;
use super::even_parts::even_part;
use super::instruction_set::InstructionSet;
use super::panel::Unit;
use super::shared::Shared;
use super::tasks::for_each_task_in;
use super::tile::WIDTH;

/// Largest number of panels of queries that a task takes, so that a block of keys is read from the
/// cache's outer levels once for all of them.
const MOST_PANELS: usize = 4;
/// Number of tasks per thread, where there are enough queries, for the heads that threads share.
const TASKS_PER_THREAD: usize = 16;

/// Sizes of an attention.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttentionShape {
    pub(crate) batch: usize,
    pub(crate) heads: usize,
    /// Number of key and value heads, a divisor of `heads`: neighboring query heads share a key
    /// head (arXiv 2305.13245).
    pub(crate) kv_heads: usize,
    pub(crate) queries: usize,
    pub(crate) keys: usize,
    pub(crate) head_dim: usize,
    /// Restricts a query to the keys at its own position and before.
    pub(crate) causal: bool,
}

/// Computes attention; the output is `[batch, queries, heads, head_dim]`, with the heads already
/// joined.
///
/// # Panics
/// Panics if a slice is too short for the shape.
pub(crate) fn attention<T: Element>(
    set: InstructionSet,
    query: Heads<'_, T>,
    key: Heads<'_, T>,
    value: Heads<'_, T>,
    shape: AttentionShape,
    output: &mut [T],
) {
    let AttentionShape {
        batch,
        heads,
        kv_heads,
        queries,
        keys,
        head_dim,
        ..
    } = shape;
    assert!(heads % kv_heads == 0 && output.len() == batch * queries * heads * head_dim);
    if output.is_empty() || keys == 0 {
        return;
    }
    let call = Call {
        query,
        key,
        value,
        shape,
        sizes: HeadSizes {
            keys,
            head_dim,
            unit: Unit::of::<T>(set),
            set,
        },
        output: Shared::new(output),
    };
    let threads = rayon::current_num_threads();
    let mut scratches: Vec<Scratch> = (0..threads).map(|_| Scratch::default()).collect();
    // As long as there is a head for each thread, a thread packs a head and attends it alone,
    // without waiting for others. All threads share the last heads, at most one per thread.
    let key_heads = batch * kv_heads;
    let alone = (key_heads - 1) / threads * threads;
    call.attend_alone(&mut scratches, alone);
    call.attend_together(&mut scratches, alone..key_heads);
}

/// Buffers of a thread, reused from one task to the next.
#[derive(Debug, Default)]
struct Scratch {
    packed: PackedHead,
    panels: Vec<QueryPanel>,
    /// Scores of a block of keys and a panel of queries, then its weights.
    scores: Aligned<f32>,
    /// Output of a panel of queries, `[32][head_dim]`.
    rows: Vec<u32>,
}

/// Operands and output of one attention.
struct Call<'a, T> {
    query: Heads<'a, T>,
    key: Heads<'a, T>,
    value: Heads<'a, T>,
    shape: AttentionShape,
    sizes: HeadSizes,
    output: Shared<'a, T>,
}

impl<T: Element> Call<'_, T> {
    /// Number of parts of the queries of a key head, of at most `panels` panels each.
    fn parts(&self, panels: usize) -> usize {
        let query_heads = self.shape.heads / self.shape.kv_heads;
        query_heads * self.shape.queries.div_ceil(WIDTH).div_ceil(panels)
    }

    /// Computes the first key heads, one per task.
    fn attend_alone(&self, scratches: &mut [Scratch], key_heads: usize) {
        let parts = self.parts(MOST_PANELS);
        for_each_task_in(scratches, key_heads, |scratch, head| {
            let mut packed = std::mem::take(&mut scratch.packed);
            let blocks = packed.blocks_mut(&self.sizes);
            blocks.for_each(|block| self.pack(head, block));
            for part in 0..parts {
                self.attend(scratch, &packed, head, [part, parts]);
            }
            scratch.packed = packed;
        });
    }

    /// Computes some key heads, at most one per thread, with all threads at each.
    fn attend_together(&self, scratches: &mut [Scratch], key_heads: Range<usize>) {
        let first = key_heads.start;
        let mut packed: Vec<PackedHead> = scratches
            .iter_mut()
            .take(key_heads.len())
            .map(|scratch| std::mem::take(&mut scratch.packed))
            .collect();
        let blocks: Vec<_> = packed
            .iter_mut()
            .enumerate()
            .flat_map(|(head, packed)| packed.blocks_mut(&self.sizes).map(move |b| (head, b)))
            .collect();
        blocks
            .into_par_iter()
            .for_each(|(head, block)| self.pack(first + head, block));

        let query_heads = self.shape.heads / self.shape.kv_heads;
        let panels = packed.len() * query_heads * self.shape.queries.div_ceil(WIDTH);
        let tasks = TASKS_PER_THREAD * scratches.len();
        let parts = self.parts((panels / tasks).clamp(1, MOST_PANELS));
        for_each_task_in(scratches, packed.len() * parts, |scratch, task| {
            let (head, part) = (task / parts, task % parts);
            self.attend(scratch, &packed[head], first + head, [part, parts]);
        });
    }

    /// Packs a block of the keys and values of a head.
    fn pack(&self, head: usize, block: BlockMut<'_>) {
        let head = [head / self.shape.kv_heads, head % self.shape.kv_heads];
        let tokens = [block.first, block.keys];
        let keys = self.key.tokens(head, tokens, self.sizes.head_dim);
        let values = self.value.tokens(head, tokens, self.sizes.head_dim);
        block.pack(&keys, &values, &self.sizes);
    }

    /// Computes a part of the queries of a key head.
    fn attend(
        &self,
        scratch: &mut Scratch,
        packed: &PackedHead,
        key_head: usize,
        [part, parts]: [usize; 2],
    ) {
        let AttentionShape {
            heads,
            kv_heads,
            queries,
            head_dim,
            causal,
            ..
        } = self.shape;
        let query_heads = heads / kv_heads;
        let parts = parts / query_heads;
        let (batch, key_head) = (key_head / kv_heads, key_head % kv_heads);
        let (head, part) = (key_head * query_heads + part / parts, part % parts);
        let panels = even_part(queries.div_ceil(WIDTH), [part, parts]);

        scratch
            .panels
            .resize_with(panels.len(), QueryPanel::default);
        for (index, panel) in panels.zip(&mut scratch.panels) {
            let first = index * WIDTH;
            let tokens = [first, WIDTH.min(queries - first)];
            panel.start(
                &self.query.tokens([batch, head], tokens, head_dim),
                first,
                &self.sizes,
            );
        }
        for block in packed.blocks(&self.sizes) {
            for panel in &mut scratch.panels {
                panel.attend(&block, causal, &self.sizes, &mut scratch.scores);
            }
        }
        for panel in &scratch.panels {
            panel.finish(&self.sizes, &mut scratch.rows, |query, values, factor| {
                let start = ((batch * queries + query) * heads + head) * head_dim;
                // SAFETY: tasks write disjoint queries and heads.
                #[allow(unsafe_code)]
                let output = unsafe { self.output.part(start, head_dim) };
                for (out, value) in output.iter_mut().zip(values) {
                    *out = T::from_f32(f32::from_bits(*value) * factor);
                }
            });
        }
    }
}
