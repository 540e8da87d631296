//! Attention `softmax(Q K^T / sqrt(head_dim)) V` in blocks of queries. Keys and values are packed
//! once per head, and a block's scores stay in the second-level cache (the idea of arXiv
//! 2205.14135, without its running maximum, because a row of scores fits).

use rayon::prelude::*;

use super::element::Element;
use super::instruction_set::InstructionSet;
use super::panel::{Matrix, Unit, pack};
use super::shared::Shared;
use super::tasks::for_each_task;
use super::tile::{self, MAX_ROWS, Sums, WIDTH};
use super::vector::{exp, vectorized};

/// Bytes of scores that a task keeps in the cache.
const SCORE_BYTES: usize = 512 << 10;
/// Largest number of tiles of queries that a task takes.
const MOST_TILES: usize = 4;

/// View of a tensor `[batch, heads, tokens, head_dim]` with any strides except the last, which is
/// one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads<'a, T> {
    pub(crate) data: &'a [T],
    /// Strides of the batch, head and token axes.
    pub(crate) strides: [usize; 3],
}

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

impl<'a, T: Element> Heads<'a, T> {
    /// Returns the elements of one head, starting at its first token, and the stride between
    /// tokens.
    fn head(&self, batch: usize, head: usize) -> (&'a [T], usize) {
        let start = batch * self.strides[0] + head * self.strides[1];
        (&self.data[start..], self.strides[2])
    }
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
    let unit = Unit::of::<T>(set);
    let packed: Vec<PackedHead> = (0..batch * kv_heads)
        .into_par_iter()
        .map(|index| {
            let (batch, head) = (index / kv_heads, index % kv_heads);
            PackedHead::new(
                key.head(batch, head),
                value.head(batch, head),
                [keys, head_dim],
                unit,
                set,
            )
        })
        .collect();

    let score_row = keys.next_multiple_of(WIDTH) * 4;
    let tiles = (SCORE_BYTES / (score_row * set.tile_rows())).clamp(1, MOST_TILES);
    let block = tiles * set.tile_rows();
    let blocks = queries.div_ceil(block);
    let shared = Shared::new(output);
    for_each_task(batch * heads * blocks, Scratch::default, |scratch, task| {
        let (head, block_index) = (task / blocks, task % blocks);
        let (batch, head) = (head / heads, head % heads);
        // The blocks have nearly equal heights.
        let first = block_index * queries / blocks;
        let end = (block_index + 1) * queries / blocks;
        let (data, stride) = query.head(batch, head);
        let matrix = Matrix::new(
            &data[first * stride..],
            [end - first, head_dim],
            [stride, 1],
        );
        let packed = &packed[batch * kv_heads + head * kv_heads / heads];
        scratch.attend(&matrix, packed, first, &shape, unit, set);
        scratch.write(packed, unit, set, |row, column, values| {
            let start = ((batch * queries + first + row) * heads + head) * head_dim + column;
            // SAFETY: tasks write disjoint queries and heads.
            #[allow(unsafe_code)]
            let output = unsafe { shared.part(start, values.len()) };
            for (out, value) in output.iter_mut().zip(values) {
                *out = T::from_f32(*value);
            }
        });
    });
}

/// Keys and values of a head, packed as right-hand panels.
#[derive(Debug)]
struct PackedHead {
    /// Packed keys, `[keys / 32][units of head_dim][32]`.
    keys: Vec<u32>,
    /// Packed values, `[head_dim / 32][units of keys][32]`.
    values: Vec<u32>,
    key_count: usize,
    head_dim: usize,
}

impl PackedHead {
    fn new<T: Element>(
        (keys, key_stride): (&[T], usize),
        (values, value_stride): (&[T], usize),
        [key_count, head_dim]: [usize; 2],
        unit: Unit,
        set: InstructionSet,
    ) -> Self {
        let keys = Matrix::new(keys, [key_count, head_dim], [key_stride, 1]);
        let values = Matrix::new(values, [head_dim, key_count], [1, value_stride]);
        Self {
            keys: pack_right(&keys, unit, set),
            values: pack_right(&values, unit, set),
            key_count,
            head_dim,
        }
    }
}

fn pack_right<T: Element>(matrix: &Matrix<'_, T>, unit: Unit, set: InstructionSet) -> Vec<u32> {
    let size = unit.count(matrix.k) * WIDTH;
    let mut panels = vec![0; matrix.rows.div_ceil(WIDTH) * size];
    for (panel, units) in panels.chunks_exact_mut(size).enumerate() {
        let first = panel * WIDTH;
        let rows = WIDTH.min(matrix.rows - first);
        pack(matrix, [first, rows], WIDTH, unit, set, units);
    }
    panels
}

/// Buffers of a task, reused from one block of queries to the next.
#[derive(Debug, Default)]
struct Scratch {
    /// Left-hand panels: first of the queries, then of the weights.
    left: Vec<u32>,
    /// Scores, `[tile][keys / 32][rows][32]`.
    scores: Vec<f32>,
    /// Panel of a tile's weights, `[rows][32]`, rounded to bf16.
    rounded: Vec<half::bf16>,
    /// Sum of the weights of each row.
    row_sums: Vec<f32>,
    tiles: Vec<TileRows>,
    sums: Vec<f32>,
}

/// Rows of a tile of queries within its block.
#[derive(Debug, Clone, Copy)]
struct TileRows {
    first: usize,
    rows: usize,
}

impl Scratch {
    /// Computes the scores of a block of queries and their weights, `exp(score - largest)`, before
    /// the division by the sum of each row.
    fn attend<T: Element>(
        &mut self,
        queries: &Matrix<'_, T>,
        packed: &PackedHead,
        first_query: usize,
        shape: &AttentionShape,
        unit: Unit,
        set: InstructionSet,
    ) {
        let tiles = queries.rows.div_ceil(set.tile_rows());
        self.tiles.clear();
        self.tiles.extend((0..tiles).map(|tile| {
            let first = tile * queries.rows / tiles;
            TileRows {
                first,
                rows: (tile + 1) * queries.rows / tiles - first,
            }
        }));

        let units = unit.count(packed.head_dim);
        self.left.resize(queries.rows * units, 0);
        for TileRows { first, rows } in &self.tiles {
            let panel = &mut self.left[first * units..(first + rows) * units];
            pack(queries, [*first, *rows], *rows, unit, set, panel);
        }

        let padded = packed.key_count.next_multiple_of(WIDTH);
        self.scores.resize(queries.rows * padded, 0.0);
        for (panel, keys) in packed.keys.chunks_exact(units * WIDTH).enumerate() {
            for TileRows { first, rows } in &self.tiles {
                if shape.causal && panel * WIDTH >= first_query + first + rows {
                    continue;
                }
                let left = &self.left[first * units..(first + rows) * units];
                let scores = &mut self.scores[first * padded + panel * rows * WIDTH..];
                tile::multiply(set, unit, Sums::New, *rows, left, keys, scores);
            }
        }

        let scale = 1.0 / (packed.head_dim as f32).sqrt();
        self.row_sums.clear();
        for TileRows { first, rows } in &self.tiles {
            let scores = &mut self.scores[first * padded..(first + rows) * padded];
            for row in 0..*rows {
                let seen = if shape.causal {
                    (first_query + first + row + 1).min(packed.key_count)
                } else {
                    packed.key_count
                };
                let sum = vectorized(
                    set,
                    #[inline(always)]
                    || weights_of_row(scores, [row, *rows], seen, scale),
                );
                self.row_sums.push(sum);
            }
        }
    }

    /// Multiplies weights by values, one panel of the head's width at a time, and passes the
    /// results to `write(row, column, values)`.
    fn write(
        &mut self,
        packed: &PackedHead,
        unit: Unit,
        set: InstructionSet,
        mut write: impl FnMut(usize, usize, &[f32]),
    ) {
        let padded = packed.key_count.next_multiple_of(WIDTH);
        let units = unit.count(packed.key_count);
        let rows_in_all = self.row_sums.len();
        self.left.resize(rows_in_all * units, 0);
        for TileRows { first, rows } in &self.tiles {
            let scores = &self.scores[first * padded..(first + rows) * padded];
            let left = &mut self.left[first * units..(first + rows) * units];
            pack_weights(
                scores,
                *rows,
                packed.key_count,
                unit,
                set,
                &mut self.rounded,
                left,
            );
        }
        for (panel, values) in packed.values.chunks_exact(units * WIDTH).enumerate() {
            let column = panel * WIDTH;
            let columns = WIDTH.min(packed.head_dim - column);
            for TileRows { first, rows } in &self.tiles {
                let left = &self.left[first * units..(first + rows) * units];
                self.sums.resize(MAX_ROWS * WIDTH, 0.0);
                tile::multiply(set, unit, Sums::New, *rows, left, values, &mut self.sums);
                for (row, sums) in self.sums.chunks_exact_mut(WIDTH).take(*rows).enumerate() {
                    let factor = 1.0 / self.row_sums[first + row];
                    sums.iter_mut().for_each(|sum| *sum *= factor);
                    write(first + row, column, &sums[..columns]);
                }
            }
        }
    }
}

/// Turns a row of scores, `[panels][rows][32]`, into weights and returns their sum.
#[inline(always)]
fn weights_of_row(scores: &mut [f32], [row, rows]: [usize; 2], seen: usize, scale: f32) -> f32 {
    let panels = seen.div_ceil(WIDTH);
    // Maxima and sums stay in separate lanes until the end of the row, because combining lanes is
    // slow.
    let mut largest = [f32::NEG_INFINITY; WIDTH];
    let mut totals = [0.0; WIDTH];
    let lines = scores.chunks_exact_mut(rows * WIDTH);
    for (panel, line) in lines.take(panels).enumerate() {
        let line = &mut line[row * WIDTH..(row + 1) * WIDTH];
        let keys = (seen - panel * WIDTH).min(WIDTH);
        line[keys..].fill(f32::NEG_INFINITY);
        for (largest, score) in largest.iter_mut().zip(&*line) {
            *largest = if *score > *largest { *score } else { *largest };
        }
    }
    let largest = largest.into_iter().fold(f32::NEG_INFINITY, f32::max);
    for (panel, line) in scores.chunks_exact_mut(rows * WIDTH).enumerate() {
        let line = &mut line[row * WIDTH..(row + 1) * WIDTH];
        if panel >= panels {
            line.fill(0.0);
            continue;
        }
        for (total, weight) in totals.iter_mut().zip(line) {
            *weight = exp((*weight - largest) * scale);
            *total += *weight;
        }
    }
    totals.into_iter().sum()
}

/// Packs the weights of a tile, `[panels][rows][32]`, as a left-hand panel `[units of keys][rows]`.
fn pack_weights(
    scores: &[f32],
    rows: usize,
    keys: usize,
    unit: Unit,
    set: InstructionSet,
    rounded: &mut Vec<half::bf16>,
    left: &mut [u32],
) {
    let panel_units = unit.count(WIDTH) * rows;
    for ((panel, weights), left) in scores
        .chunks_exact(rows * WIDTH)
        .enumerate()
        .zip(left.chunks_mut(panel_units))
    {
        let k = WIDTH.min(keys - panel * WIDTH);
        match unit {
            Unit::F32 => {
                let matrix = Matrix::new(weights, [rows, k], [WIDTH, 1]);
                pack(&matrix, [0, rows], rows, unit, set, left);
            }
            Unit::Bf16Pair => {
                rounded.clear();
                vectorized(
                    set,
                    #[inline(always)]
                    || {
                        rounded.extend(
                            weights
                                .iter()
                                .map(|w| <half::bf16 as Element>::from_f32(*w)),
                        )
                    },
                );
                let matrix = Matrix::new(rounded.as_slice(), [rows, k], [WIDTH, 1]);
                pack(&matrix, [0, rows], rows, unit, set, left);
            }
        }
    }
}
