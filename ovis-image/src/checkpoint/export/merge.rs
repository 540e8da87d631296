//! Merging of LoRAs into tensors while they are written.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::lora::LayerUpdate;
use crate::weights::NameTable;

/// Update of some rows of a tensor of the target.
#[derive(Debug, Clone)]
pub(super) struct TensorUpdate {
    update: Arc<LayerUpdate>,
    /// Rows of the update's up projection.
    rows: std::ops::Range<usize>,
    /// First of the rows in the tensor.
    first_row: usize,
}

impl TensorUpdate {
    /// Adds the update to a tensor's elements.
    pub(super) fn add_to(&self, elements: &mut [f32]) {
        let LayerUpdate {
            up, down, strength, ..
        } = &*self.update;
        let columns = down.columns;
        for (offset, row) in self.rows.clone().enumerate() {
            let first = (self.first_row + offset) * columns;
            let mut sum = vec![0.0f32; columns];
            for (factor, line) in up.row(row).iter().zip(0..) {
                for (sum, value) in sum.iter_mut().zip(down.row(line)) {
                    *sum += factor * value;
                }
            }
            let target = &mut elements[first..first + columns];
            for (target, sum) in target.iter_mut().zip(sum) {
                *target += strength * sum;
            }
        }
    }
}

/// Updates by the names of the target's tensors.
pub(super) type TensorUpdates = BTreeMap<String, Vec<TensorUpdate>>;

/// Divides updates among the tensors of a naming.
pub(super) fn of_tensors(updates: &[Arc<LayerUpdate>], target: &NameTable) -> TensorUpdates {
    let mut found = TensorUpdates::new();
    for update in updates {
        let path = format!("{}.weight", update.layer);
        let end = update.first_row + update.up.rows;
        for share in target.row_shares(&path, update.shape) {
            let from = share.ours.start.max(update.first_row);
            let to = share.ours.end.min(end);
            if from < to {
                found.entry(share.module).or_default().push(TensorUpdate {
                    update: Arc::clone(update),
                    rows: from - update.first_row..to - update.first_row,
                    first_row: share.theirs.start + from - share.ours.start,
                });
            }
        }
    }
    found
}
