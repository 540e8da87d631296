//! Division of updates into the modules of another naming. An update of a fused module becomes one
//! of each of its parts, and updates of parts become one whose up projection is block-diagonal.

use std::collections::BTreeMap;
use std::ops::Range;

use super::matrix::Matrix;
use super::targets::Target;
use super::update::LoraUpdate;
use crate::weights::{NameTable, TransformerNaming};

/// Update with its place in our layers.
#[derive(Debug, Clone)]
pub(super) struct PlacedUpdate {
    pub(super) update: LoraUpdate,
    /// Rows of the up projection, and those of our layers that they are.
    pub(super) rows: Vec<Target>,
}

/// Finds the place of updates that are named as in a table.
pub(super) fn place(
    updates: &[LoraUpdate],
    naming: TransformerNaming,
    layers: &[(String, [usize; 2])],
) -> Vec<PlacedUpdate> {
    let table = NameTable::transformer(naming);
    let mut rows: BTreeMap<String, Vec<Target>> = BTreeMap::new();
    for (layer, (path, shape)) in layers.iter().enumerate() {
        for share in table.row_shares(path, *shape) {
            let rows = rows.entry(share.module.clone()).or_default();
            rows.push(Target { layer, share });
        }
    }
    updates
        .iter()
        .map(|update| PlacedUpdate {
            update: update.clone(),
            rows: rows.get(&update.name).cloned().unwrap_or_default(),
        })
        .collect()
}

/// Rows of an update that are rows of a module.
struct Share {
    update: usize,
    theirs: Range<usize>,
    first_row: usize,
}

/// Module of the new naming that updates reach.
struct Group {
    module_rows: usize,
    shares: Vec<Share>,
}

/// Divides updates into the modules of a naming, in the order of their names. Parts that are zero
/// are left out.
pub(super) fn regroup(
    placed: &[PlacedUpdate],
    naming: TransformerNaming,
    layers: &[(String, [usize; 2])],
) -> Vec<LoraUpdate> {
    let table = NameTable::transformer(naming);
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for (update, PlacedUpdate { rows, .. }) in placed.iter().enumerate() {
        for target in rows {
            let piece = &target.share;
            let (path, shape) = &layers[target.layer];
            for share in table.row_shares(path, *shape) {
                let from = share.ours.start.max(piece.ours.start);
                let to = share.ours.end.min(piece.ours.end);
                if from >= to {
                    continue;
                }
                let first = piece.theirs.start + from - piece.ours.start;
                let group = groups.entry(share.module).or_insert_with(|| Group {
                    module_rows: share.module_rows,
                    shares: Vec::new(),
                });
                group.shares.push(Share {
                    update,
                    theirs: first..first + to - from,
                    first_row: share.theirs.start + from - share.ours.start,
                });
            }
        }
    }
    groups
        .into_iter()
        .filter_map(|(name, group)| group.update(name, placed))
        .collect()
}

impl Group {
    fn update(mut self, name: String, placed: &[PlacedUpdate]) -> Option<LoraUpdate> {
        self.shares.sort_by_key(|share| share.update);
        let mut parts: Vec<LoraUpdate> = Vec::new();
        for shares in self.shares.chunk_by(|a, b| a.update == b.update) {
            let source = &placed[shares[0].update].update;
            let Some(part) = part(source, shares, self.module_rows) else {
                continue;
            };
            let same = parts
                .iter_mut()
                .find(|other| other.down == part.down && other.scaling_f64() == part.scaling_f64());
            match same {
                Some(other) => add(&mut other.up, &part.up),
                None => parts.push(part),
            }
        }
        let update = match parts.len() {
            0 => return None,
            1 => parts.remove(0),
            _ => joined(&parts),
        };
        Some(LoraUpdate { name, ..update })
    }
}

/// Returns the part of an update that is of one module; `None` if it is zero.
fn part(source: &LoraUpdate, shares: &[Share], module_rows: usize) -> Option<LoraUpdate> {
    let rank = source.down.rows;
    let mut up = Matrix::zeros(module_rows, rank);
    let mut rows = 0;
    for share in shares {
        rows += share.theirs.len();
        for (offset, row) in share.theirs.clone().enumerate() {
            let target = up.row_mut(share.first_row + offset);
            target.copy_from_slice(source.up.row(row));
        }
    }
    if rows == source.up.rows {
        return Some(LoraUpdate {
            up,
            ..source.clone()
        });
    }
    // A module that was joined from several has columns of zeros in the rows of each.
    let used = |column: &usize| (0..module_rows).any(|row| up.row(row)[*column] != 0.0);
    let columns: Vec<usize> = (0..rank).filter(used).collect();
    if columns.is_empty() {
        return None;
    }
    let same = columns.len() == rank;
    Some(LoraUpdate {
        name: String::new(),
        down: source.down.select_rows(&columns),
        up: up.select_columns(&columns),
        alpha: if same {
            source.alpha
        } else {
            source.scaling_f64() * columns.len() as f64
        },
        rank_stabilized: same && source.rank_stabilized,
    })
}

fn add(sum: &mut Matrix, other: &Matrix) {
    for (value, other) in sum.values.iter_mut().zip(&other.values) {
        *value += other;
    }
}

/// Joins updates of one module into one, whose rank is the sum of theirs.
fn joined(parts: &[LoraUpdate]) -> LoraUpdate {
    let rank = parts.iter().map(|part| part.down.rows).sum();
    let scalings = parts.iter().map(LoraUpdate::scaling_f64);
    let largest = scalings.fold(0.0, |a: f64, b| if b.abs() > a.abs() { b } else { a });
    let (rows, input) = (parts[0].up.rows, parts[0].down.columns);
    let mut up = Matrix::zeros(rows, rank);
    let mut down = Vec::with_capacity(rank * input);
    let mut first = 0;
    for part in parts {
        let factor = if largest == 0.0 {
            1.0
        } else {
            part.scaling_f64() / largest
        };
        for row in 0..rows {
            let target = &mut up.row_mut(row)[first..first + part.up.columns];
            for (target, value) in target.iter_mut().zip(part.up.row(row)) {
                *target = (f64::from(*value) * factor) as f32;
            }
        }
        down.extend_from_slice(&part.down.values);
        first += part.up.columns;
    }
    LoraUpdate {
        name: String::new(),
        down: Matrix {
            rows: rank,
            columns: input,
            values: down,
        },
        up,
        alpha: largest * rank as f64,
        rank_stabilized: false,
    }
}
