//! Updates of a LoRA as rows of our layers, to be merged into weights in files.

use std::sync::Arc;

use super::file::LoraFile;
use super::matrix::Matrix;
use super::updates::{layers_of, read_placed};
use crate::config::TransformerConfig;
use crate::error::{OvisImageError, Result};

/// Update of some rows of one of our layers: `strength * up * down`.
#[derive(Debug, Clone)]
pub(crate) struct LayerUpdate {
    /// Path of the layer.
    pub(crate) layer: String,
    /// Shape of its weight, `[out, in]`.
    pub(crate) shape: [usize; 2],
    /// First row of the layer that changes.
    pub(crate) first_row: usize,
    /// Rows of the up projection, `[rows, rank]`.
    pub(crate) up: Matrix,
    /// Down projection, `[rank, in]`.
    pub(crate) down: Arc<Matrix>,
    pub(crate) strength: f32,
}

/// Reads an adapter with a strength.
///
/// # Errors
/// Returns [`LoraError`](crate::error::LoraError) if the adapter was made for another model, an
/// error if the strength is not finite, or the errors of reading the file.
pub(crate) fn layer_updates(
    file: &LoraFile,
    scale: f32,
    config: &TransformerConfig,
) -> Result<Vec<LayerUpdate>> {
    if !scale.is_finite() {
        let reason = format!("{scale} is not a finite number");
        return Err(OvisImageError::argument("scale", reason));
    }
    let layers = layers_of(config);
    let mut updates = Vec::new();
    for placed in read_placed(file, &layers)? {
        let strength = placed.update.scaling_f64() as f32 * scale;
        let down = Arc::new(placed.update.down);
        for rows in placed.rows {
            let (layer, shape) = layers[rows.layer].clone();
            let numbers: Vec<usize> = rows.share.theirs.collect();
            updates.push(LayerUpdate {
                layer,
                shape,
                first_row: rows.share.ours.start,
                up: placed.update.up.select_rows(&numbers),
                down: Arc::clone(&down),
                strength,
            });
        }
    }
    Ok(updates)
}
