//! Gradient of attention, from queries, keys and values alone: scores are computed again for a
//! block of queries at a time (arXiv 2205.14135), so memory grows with the number of keys, not with
//! its product with the queries.
//!
//! With `P = softmax(S)` and `dP = dO V^T`, the gradient of the scores is
//! `dS = P (dP - sum(P dP))`. Scores are stored `[panel of 32 keys][query][32]`, which is the
//! right-hand panel of the products `dV^T = dO^T P` and `dK^T = Q^T dS` as it stands. All products
//! are in f32.

use std::ops::Range;

use crate::cpu::aligned::Aligned;
use crate::cpu::attention::{AttentionShape, Heads, Tokens};
use crate::cpu::element::Element;
use crate::cpu::even_parts::even_parts_of;
use crate::cpu::instruction_set::InstructionSet;
use crate::cpu::output::unwritten;
use crate::cpu::panel::{Matrix, Unit, pack};
use crate::cpu::shared::Shared;
use crate::cpu::tasks::for_each_task;
use crate::cpu::tile::{self, Sums, WIDTH};
use crate::cpu::vector::{exp, vectorized};

/// Number of queries whose scores exist at a time.
const QUERIES: usize = 128;

/// Gradients of an attention's operands; each is `[batch, tokens, heads, head_dim]`.
#[derive(Debug)]
pub(crate) struct AttentionGradients<'a, T> {
    pub(crate) query: &'a mut [T],
    pub(crate) key: &'a mut [T],
    pub(crate) value: &'a mut [T],
}

/// Computes the gradients of queries, keys and values from that of the output,
/// `[batch, heads, queries, head_dim]`.
///
/// # Panics
/// Panics if a slice is too short for the shape.
pub(crate) fn attention<T: Element>(
    set: InstructionSet,
    gradient: Heads<'_, T>,
    [query, key, value]: [Heads<'_, T>; 3],
    shape: AttentionShape,
    outputs: AttentionGradients<'_, T>,
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
    assert!(
        heads % kv_heads == 0
            && outputs.query.len() == batch * queries * heads * head_dim
            && outputs.key.len() == batch * keys * kv_heads * head_dim
            && outputs.value.len() == outputs.key.len()
    );
    if outputs.query.is_empty() || keys == 0 {
        return;
    }
    let call = Call {
        set,
        shape,
        gradient,
        query,
        key,
        value,
        outputs: [
            Shared::new(outputs.query),
            Shared::new(outputs.key),
            Shared::new(outputs.value),
        ],
    };
    for_each_task(batch * kv_heads, Scratch::default, |scratch, head| {
        call.run(scratch, head / kv_heads, head % kv_heads);
    });
}

/// Buffers of a thread.
#[derive(Default)]
struct Scratch {
    /// Right-hand panels `[panel of keys][head_dim][32]`.
    keys: Aligned<u32>,
    values: Aligned<u32>,
    /// Right-hand panels `[panel of channels][keys][32]`.
    key_channels: Aligned<u32>,
    /// Left-hand panels of a block of queries: by query, and by channel.
    left: Vec<u32>,
    /// `[panel of keys][query][32]`: scores, then weights; gradients of the weights, then of the
    /// scores.
    weights: Vec<f32>,
    slopes: Vec<f32>,
    /// `[panel of keys][head_dim][32]`.
    key_sums: Vec<f32>,
    value_sums: Vec<f32>,
    /// `[panel of channels][query][32]`.
    query_sums: Vec<f32>,
}

struct Call<'a, T> {
    set: InstructionSet,
    shape: AttentionShape,
    gradient: Heads<'a, T>,
    query: Heads<'a, T>,
    key: Heads<'a, T>,
    value: Heads<'a, T>,
    outputs: [Shared<'a, T>; 3],
}

impl<T: Element> Call<'_, T> {
    /// Computes the gradients of a key head and of the query heads that share it.
    fn run(&self, scratch: &mut Scratch, batch: usize, kv_head: usize) {
        let AttentionShape {
            heads,
            kv_heads,
            queries,
            keys,
            head_dim,
            ..
        } = self.shape;
        let key_panels = keys.div_ceil(WIDTH);
        let key = self.key.tokens([batch, kv_head], [0, keys], head_dim);
        let value = self.value.tokens([batch, kv_head], [0, keys], head_dim);
        self.pack_right(&key.matrix(), &mut scratch.keys);
        self.pack_right(&value.matrix(), &mut scratch.values);
        self.pack_right(&key.matrix().transposed(), &mut scratch.key_channels);
        for sums in [&mut scratch.key_sums, &mut scratch.value_sums] {
            sums.clear();
            sums.resize(key_panels * head_dim * WIDTH, 0.0);
        }
        let shared = heads / kv_heads;
        for head in kv_head * shared..(kv_head + 1) * shared {
            for first in (0..queries).step_by(QUERIES) {
                let tokens = [first, QUERIES.min(queries - first)];
                let query = self.query.tokens([batch, head], tokens, head_dim);
                let gradient = self.gradient.tokens([batch, head], tokens, head_dim);
                self.block(scratch, first, &query, &gradient);
                let panels = scratch.query_sums.chunks_exact(tokens[1] * WIDTH);
                for (panel, sums) in panels.enumerate() {
                    let channels = self.lanes(panel, head_dim);
                    for (row, sums) in sums.chunks_exact(WIDTH).enumerate() {
                        let token = batch * queries + first + row;
                        let start = (token * heads + head) * head_dim + channels.start;
                        self.write(0, start, &sums[..channels.len()]);
                    }
                }
            }
        }
        for (output, sums) in [(1, &scratch.key_sums), (2, &scratch.value_sums)] {
            for (panel, sums) in sums.chunks_exact(head_dim * WIDTH).enumerate() {
                for (lane, key) in self.lanes(panel, keys).enumerate() {
                    let start = ((batch * keys + key) * kv_heads + kv_head) * head_dim;
                    // SAFETY: tasks write disjoint heads.
                    #[allow(unsafe_code)]
                    let out = unsafe { self.outputs[output].part(start, head_dim) };
                    for (out, sums) in out.iter_mut().zip(sums.chunks_exact(WIDTH)) {
                        *out = T::from_f32(sums[lane]);
                    }
                }
            }
        }
    }

    /// Adds the contribution of a block of queries to the sums of keys and values, and computes the
    /// sums of the queries.
    fn block(
        &self,
        scratch: &mut Scratch,
        first: usize,
        query: &Tokens<'_, T>,
        gradient: &Tokens<'_, T>,
    ) {
        let (keys, head_dim, rows) = (self.shape.keys, self.shape.head_dim, query.count);
        let key_panels = keys.div_ceil(WIDTH);
        let Scratch {
            keys: key_panel,
            values: value_panel,
            key_channels,
            left,
            weights,
            slopes,
            key_sums,
            value_sums,
            query_sums,
        } = scratch;
        for sums in [&mut *weights, &mut *slopes] {
            sums.resize(key_panels * rows * WIDTH, 0.0);
        }
        self.multiply(&query.matrix(), left, key_panel, Sums::New, weights);
        self.multiply(&gradient.matrix(), left, value_panel, Sums::New, slopes);
        vectorized(
            self.set,
            #[inline(always)]
            || self.differentiate(first, rows, weights, slopes),
        );
        let by_channel = gradient.matrix().transposed();
        self.multiply(
            &by_channel,
            left,
            units(weights),
            Sums::Continued,
            value_sums,
        );
        let by_channel = query.matrix().transposed();
        self.multiply(&by_channel, left, units(slopes), Sums::Continued, key_sums);

        query_sums.resize(head_dim.div_ceil(WIDTH) * rows * WIDTH, 0.0);
        for panel in 0..key_panels {
            let lanes = self.lanes(panel, keys);
            let slopes = &slopes[panel * rows * WIDTH..][..rows * WIDTH];
            let slopes = Matrix::new(slopes, [rows, lanes.len()], [WIDTH, 1]);
            let start = if panel == 0 {
                Sums::New
            } else {
                Sums::Continued
            };
            self.multiply_keys(&slopes, left, key_channels, lanes, start, query_sums);
        }
    }

    /// Turns scores into weights, and the weights' gradients into those of the scores.
    #[inline(always)]
    fn differentiate(&self, first: usize, rows: usize, weights: &mut [f32], slopes: &mut [f32]) {
        let AttentionShape {
            keys,
            head_dim,
            causal,
            ..
        } = self.shape;
        let scale = 1.0 / (head_dim as f32).sqrt();
        let panels = keys.div_ceil(WIDTH);
        for row in 0..rows {
            let seen = if causal {
                keys.min(first + row + 1)
            } else {
                keys
            };
            let line = |panel: usize| (panel * rows + row) * WIDTH;
            let mut largest = [f32::NEG_INFINITY; WIDTH];
            for panel in 0..panels {
                let scores = &mut weights[line(panel)..][..WIDTH];
                // Keys after the query, and lanes without a key.
                let hidden = seen.saturating_sub(panel * WIDTH).min(WIDTH);
                scores[hidden..].fill(f32::NEG_INFINITY);
                for (largest, score) in largest.iter_mut().zip(scores) {
                    *largest = if *score > *largest { *score } else { *largest };
                }
            }
            let largest = largest.into_iter().fold(f32::NEG_INFINITY, f32::max);
            let (mut total, mut product) = ([0.0f32; WIDTH], [0.0f32; WIDTH]);
            for panel in 0..panels {
                let scores = &mut weights[line(panel)..][..WIDTH];
                let slopes = &slopes[line(panel)..][..WIDTH];
                for lane in 0..WIDTH {
                    let weight = exp((scores[lane] - largest) * scale);
                    scores[lane] = weight;
                    total[lane] += weight;
                    product[lane] += weight * slopes[lane];
                }
            }
            let factor = 1.0 / total.iter().sum::<f32>();
            let mean = product.iter().sum::<f32>() * factor;
            for panel in 0..panels {
                let weights = &mut weights[line(panel)..][..WIDTH];
                let slopes = &mut slopes[line(panel)..][..WIDTH];
                for (weight, slope) in weights.iter_mut().zip(slopes) {
                    *weight *= factor;
                    *slope = *weight * (*slope - mean) * scale;
                }
            }
        }
    }

    /// Computes `sums[panel][row][32] (+)= left right`, one right-hand panel after the other.
    fn multiply(
        &self,
        matrix: &Matrix<'_, T>,
        left: &mut Vec<u32>,
        right: &[u32],
        start: Sums,
        sums: &mut [f32],
    ) {
        let (rows, k) = (matrix.rows, matrix.k);
        self.pack_left(matrix, left);
        let panels = right.chunks_exact(k * WIDTH);
        for (right, sums) in panels.zip(sums.chunks_exact_mut(rows * WIDTH)) {
            for part in self.heights(rows) {
                let left = &left[part.start * k..part.end * k];
                let sums = &mut sums[part.start * WIDTH..part.end * WIDTH];
                tile::multiply(self.set, Unit::F32, start, part.len(), left, right, sums);
            }
        }
    }

    /// Like [`multiply`](Self::multiply), for the part of the right-hand panels that belongs to
    /// these keys.
    fn multiply_keys(
        &self,
        matrix: &Matrix<'_, f32>,
        left: &mut Vec<u32>,
        right: &[u32],
        keys: Range<usize>,
        start: Sums,
        sums: &mut [f32],
    ) {
        let (rows, k) = (matrix.rows, matrix.k);
        self.pack_left(matrix, left);
        let panels = right.chunks_exact(self.shape.keys * WIDTH);
        for (right, sums) in panels.zip(sums.chunks_exact_mut(rows * WIDTH)) {
            let right = &right[keys.start * WIDTH..keys.end * WIDTH];
            for part in self.heights(rows) {
                let left = &left[part.start * k..part.end * k];
                let sums = &mut sums[part.start * WIDTH..part.end * WIDTH];
                tile::multiply(self.set, Unit::F32, start, part.len(), left, right, sums);
            }
        }
    }

    fn pack_left<E: Element>(&self, matrix: &Matrix<'_, E>, left: &mut Vec<u32>) {
        left.resize(matrix.rows * matrix.k, 0);
        for part in self.heights(matrix.rows) {
            let panel = &mut left[part.start * matrix.k..part.end * matrix.k];
            let (first, count) = (part.start, part.len());
            pack(
                matrix,
                [first, count],
                count,
                Unit::F32,
                self.set,
                unwritten(panel),
            );
        }
    }

    fn pack_right(&self, matrix: &Matrix<'_, T>, right: &mut Aligned<u32>) {
        let size = matrix.k * WIDTH;
        right.resize(matrix.rows.div_ceil(WIDTH) * size, 0);
        for (panel, units) in right.chunks_exact_mut(size).enumerate() {
            let lanes = self.lanes(panel, matrix.rows);
            let rows = [lanes.start, lanes.len()];
            pack(matrix, rows, WIDTH, Unit::F32, self.set, unwritten(units));
        }
    }

    /// Splits rows into tiles of nearly equal heights.
    fn heights(&self, rows: usize) -> impl Iterator<Item = Range<usize>> + use<T> {
        even_parts_of(rows, self.set.tile_rows())
    }

    /// Returns the rows that stand in the lanes of a panel.
    fn lanes(&self, panel: usize, rows: usize) -> Range<usize> {
        panel * WIDTH..rows.min((panel + 1) * WIDTH)
    }

    fn write(&self, output: usize, start: usize, values: &[f32]) {
        // SAFETY: tasks write disjoint heads.
        #[allow(unsafe_code)]
        let out = unsafe { self.outputs[output].part(start, values.len()) };
        for (out, value) in out.iter_mut().zip(values) {
            *out = T::from_f32(*value);
        }
    }
}

fn units(values: &[f32]) -> &[u32] {
    bytemuck::cast_slice(values)
}
