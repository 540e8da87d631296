//! Update of one module.

use super::matrix::Matrix;

/// Update of a module: `alpha / rank * up * down`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LoraUpdate {
    pub(crate) name: String,
    /// Down projection, `[rank, in]`.
    pub(crate) down: Matrix,
    /// Up projection, `[out, rank]`.
    pub(crate) up: Matrix,
    pub(crate) alpha: f64,
    /// True if alpha is divided by the root of the rank instead of the rank.
    pub(crate) rank_stabilized: bool,
}

impl LoraUpdate {
    /// Returns the factor of the product of both matrices, before it is rounded to f32.
    pub(super) fn scaling_f64(&self) -> f64 {
        let rank = self.down.rows as f64;
        let divisor = if self.rank_stabilized {
            rank.sqrt()
        } else {
            rank
        };
        self.alpha / divisor
    }
}
