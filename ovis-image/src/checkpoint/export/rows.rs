//! Mapping of one naming scheme's tensors to the rows of another's.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::checkpoint::part::{Part, PartConfig};
use crate::error::{OvisImageError, Result};
use crate::parameters::Parameter;
use crate::weights::{NameTable, Recipes};

/// Rows of a tensor of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourceRows {
    pub(super) tensor: String,
    pub(super) rows: Range<usize>,
    /// Total number of the tensor's rows.
    pub(super) of: usize,
}

/// A tensor of the target.
#[derive(Debug, Clone)]
pub(super) struct AssembledTensor {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    /// Parameter of ours that the tensor contains.
    pub(super) parameter: Parameter,
    /// Rows that make up the tensor, from top to bottom.
    pub(super) rows: Vec<SourceRows>,
}

/// A tensor of the target under construction.
struct Draft {
    shape: Vec<usize>,
    parameter: Parameter,
    /// Source rows, each with the first row of the target that they fill.
    rows: Vec<(usize, SourceRows)>,
}

/// Assembles every tensor of the `target` naming from a part in its own naming.
pub(super) fn assemble<C: PartConfig>(
    part: &Part<C>,
    target: &NameTable,
) -> Result<Vec<AssembledTensor>> {
    let recipes = part.recipes()?;
    let mut drafts = BTreeMap::<String, Draft>::new();
    for (path, recipe) in &recipes {
        let shape = &recipe.parameter.shape;
        let size = [shape[0], columns(path, &recipes)];
        let found: Vec<_> = part
            .table
            .row_shares(path, size)
            .into_iter()
            .zip(&recipe.pieces)
            .collect();
        for share in target.row_shares(path, size) {
            let draft = drafts.entry(share.module).or_insert_with(|| Draft {
                shape: [&[share.module_rows], &shape[1..]].concat(),
                parameter: recipe.parameter.clone(),
                rows: Vec::new(),
            });
            for (ours, piece) in &found {
                let start = share.ours.start.max(ours.ours.start);
                let end = share.ours.end.min(ours.ours.end);
                if start < end {
                    let offset = |row: usize| row - ours.ours.start + ours.theirs.start;
                    let rows = SourceRows {
                        tensor: piece.name().clone(),
                        rows: offset(start)..offset(end),
                        of: ours.module_rows,
                    };
                    let place = share.theirs.start + start - share.ours.start;
                    draft.rows.push((place, rows));
                }
            }
        }
    }
    drafts
        .into_iter()
        .map(|(name, draft)| draft.finish(C::PART, name))
        .collect()
}

/// Returns the number of columns of a parameter; for a bias, that of its weight.
fn columns(path: &str, recipes: &Recipes) -> usize {
    let weight = path
        .strip_suffix("bias")
        .and_then(|module| recipes.get(&format!("{module}weight")));
    let recipe = weight.or_else(|| recipes.get(path));
    let columns = recipe.and_then(|recipe| recipe.parameter.shape.get(1));
    columns.copied().unwrap_or(1)
}

impl Draft {
    fn finish(mut self, part: &'static str, name: String) -> Result<AssembledTensor> {
        self.rows.sort_by_key(|(place, _)| *place);
        let mut next = 0;
        for (place, rows) in &self.rows {
            if *place != next {
                break;
            }
            next += rows.rows.len();
        }
        if next != self.shape[0] {
            return Err(OvisImageError::config(
                part,
                format!(
                    "only {next} of the {} rows of `{name}` are known",
                    self.shape[0]
                ),
            ));
        }
        Ok(AssembledTensor {
            name,
            shape: self.shape,
            parameter: self.parameter,
            rows: self.rows.into_iter().map(|(_, rows)| rows).collect(),
        })
    }
}
