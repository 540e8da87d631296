use std::ops::Range;

use super::NameTable;
use super::Piece::{FirstHalf, SecondHalf, Square, Whole};

/// Rows of a linear module, as a naming scheme divides it, that are rows of one of our layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RowShare {
    /// The module's name, for example `transformer_blocks.0.attn.to_k`.
    pub(crate) module: String,
    /// Total number of the module's rows.
    pub(crate) module_rows: usize,
    /// Range of the rows in the module.
    pub(crate) theirs: Range<usize>,
    /// Range of the rows in our layer.
    pub(crate) ours: Range<usize>,
}

impl NameTable {
    /// Returns the modules that one of our linear layers is made of, from top to bottom.
    ///
    /// # Shapes
    /// - `[out, in]`: shape of our layer's weight
    pub(crate) fn row_shares(&self, layer: &str, [out, input]: [usize; 2]) -> Vec<RowShare> {
        let pieces = self.pieces(layer).unwrap_or_default();
        let squares = pieces.iter().filter(|piece| matches!(piece, Square(_)));
        let square_rows = squares.count() * input;
        let half = out / pieces.len().max(1);
        let mut row = 0;
        pieces
            .iter()
            .map(|piece| {
                let (module_rows, theirs) = match piece {
                    Square(_) => (input, 0..input),
                    Whole(_) => (out - square_rows, 0..out - square_rows),
                    FirstHalf(_) => (2 * half, 0..half),
                    SecondHalf(_) => (2 * half, half..2 * half),
                };
                let ours = row..row + theirs.len();
                row = ours.end;
                RowShare {
                    module: piece.name().clone(),
                    module_rows,
                    theirs,
                    ours,
                }
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::TransformerNaming;

    #[test]
    fn a_fused_layer_is_its_modules_from_top_to_bottom() {
        let table = NameTable::transformer(TransformerNaming::Diffusers);
        let shares = table.row_shares("single_blocks.3.qkv_mlp", [11, 2]);
        let rows: Vec<_> = shares.iter().map(|share| share.ours.clone()).collect();
        assert_eq!(rows, [0..2, 2..4, 4..6, 6..11]);
        assert_eq!(shares[3].module, "single_transformer_blocks.3.proj_mlp");
        assert_eq!(shares[3].module_rows, 5);
    }

    #[test]
    fn halves_are_rows_of_a_module_twice_as_high() {
        let table = NameTable::transformer(TransformerNaming::Diffusers);
        let gate = table.row_shares("double_blocks.0.image_feed_forward.gate", [6, 4]);
        assert_eq!((gate[0].module_rows, gate[0].theirs.clone()), (12, 6..12));
        assert_eq!(gate[0].ours, 0..6);

        let last = table.row_shares("final_layer.modulation", [8, 4]);
        assert_eq!((last[0].theirs.clone(), last[0].ours.clone()), (4..8, 0..4));
        assert_eq!((last[1].theirs.clone(), last[1].ours.clone()), (0..4, 4..8));
    }
}
