//! LoRAs from the difference of two checkpoints.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::export::{ExportProgress, NamedTensor, transformer_tensors};
use super::open::Checkpoint;
use crate::error::{OvisImageError, Result, RuntimeError};
use crate::lora::matrix::Matrix;
use crate::lora::{LoraUpdate, LoraUpdates, layers_of, low_rank};

/// LoRA that was extracted from the difference of two transformers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ExtractedLora {
    /// The LoRA, to be [saved](LoraUpdates::save) in any format.
    pub updates: LoraUpdates,
    /// Share of the sum of squares of the matrices' differences that it keeps, 0 to 1.
    pub kept: f64,
    /// Names of the biases and scales that differ, which a LoRA cannot represent.
    pub left_out: Vec<String>,
}

impl Checkpoint {
    /// Extracts the difference of this transformer from a base's as a LoRA: for each matrix that
    /// differs, the nearest product of at most a rank, by a randomized singular value
    /// decomposition. `on_progress` gets the bytes of f32 that were compared.
    ///
    /// # Errors
    /// Returns [`RequestError::InvalidArgument`](crate::error::RequestError) if the rank is 0, the
    /// base has other sizes, a difference is not finite or no matrix differs,
    /// [`RuntimeError::ExportCanceled`] if `on_progress` breaks, and the errors of reading both.
    pub fn extract_lora(
        &self,
        base: &Self,
        rank: usize,
        mut on_progress: impl FnMut(ExportProgress) -> ControlFlow<()>,
    ) -> Result<ExtractedLora> {
        if rank == 0 {
            return Err(OvisImageError::argument("rank", "it must be at least 1"));
        }
        let tuned = transformer_tensors(self)?;
        let base = transformer_tensors(base)?;
        let base: HashMap<&str, &NamedTensor<'_>> =
            base.iter().map(|tensor| (tensor.name(), tensor)).collect();
        let bytes = |tensor: &NamedTensor<'_>| 4 * tensor.shape().iter().product::<usize>() as u64;
        let total = tuned.iter().map(bytes).sum();
        let mut written = 0;
        let mut differences = Differences::default();
        for tensor in &tuned {
            let values = difference(tensor, base.get(tensor.name()).copied())?;
            differences.add(tensor, values, rank);
            written += bytes(tensor);
            if on_progress(ExportProgress { written, total }).is_break() {
                return Err(RuntimeError::ExportCanceled { written, total }.into());
            }
        }
        if differences.modules.is_empty() {
            return Err(OvisImageError::argument(
                "base",
                "no matrix of the transformer differs from it",
            ));
        }
        Ok(ExtractedLora {
            updates: LoraUpdates::new(layers_of(self.transformer_config()), differences.modules),
            kept: differences.kept / differences.squares,
            left_out: differences.left_out,
        })
    }
}

/// Subtracts the base's tensor of the same name from a tensor.
fn difference(tensor: &NamedTensor<'_>, base: Option<&NamedTensor<'_>>) -> Result<Vec<f32>> {
    let refused = |reason: String| Err(OvisImageError::argument("base", reason));
    let Some(base) = base.filter(|base| base.shape() == tensor.shape()) else {
        return refused(format!("it has no `{}` of this size", tensor.name()));
    };
    let mut values = tensor.read()?;
    for (value, base) in values.iter_mut().zip(base.read()?) {
        *value -= base;
    }
    if !values.iter().all(|value| value.is_finite()) {
        return refused(format!(
            "the difference in `{}` is not finite",
            tensor.name()
        ));
    }
    Ok(values)
}

/// Differences of the tensors so far.
#[derive(Default)]
struct Differences {
    modules: Vec<LoraUpdate>,
    left_out: Vec<String>,
    /// Sum of squares of the matrices' differences.
    squares: f64,
    /// Part of this sum that the products of low rank keep.
    kept: f64,
}

impl Differences {
    /// Adds the difference of a tensor: of a matrix as a product of at most a rank, of others by
    /// name. Zeros are left out.
    fn add(&mut self, tensor: &NamedTensor<'_>, values: Vec<f32>, rank: usize) {
        if values.iter().all(|value| *value == 0.0) {
            return;
        }
        let module = tensor.name().strip_suffix(".weight");
        let (Some(module), &[rows, columns]) = (module, tensor.shape()) else {
            self.left_out.push(tensor.name().to_owned());
            return;
        };
        let squared = values.iter().map(|value| f64::from(*value).powi(2));
        self.squares += squared.sum::<f64>();
        let difference = Matrix {
            rows,
            columns,
            values,
        };
        let found = low_rank(&difference, rank);
        self.kept += found.kept;
        self.modules.push(LoraUpdate {
            name: module.to_owned(),
            alpha: found.down.rows as f64,
            down: found.down,
            up: found.up,
            rank_stabilized: false,
        });
    }
}
