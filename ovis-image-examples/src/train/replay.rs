//! Batches from a file, so that another program can be compared step by step.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};
use ovis_image::training::{ImageBatch, PromptBatch};
use safetensors::{Dtype, SafeTensors};

use super::error::TrainError;
use super::queue::BatchSource;
use crate::shared::input_file;
use crate::shared::terminal::shown;

/// Maximum size of a replay file, in bytes.
const MOST_BYTES: u64 = 64 << 30;

/// File with `step_000.latents`, `.noise`, `.prompt_embeds`, `.timesteps` and `.grid`, and so on
/// for each batch.
#[derive(Debug, Clone)]
pub struct ReplayFile {
    path: PathBuf,
    bytes: Arc<Vec<u8>>,
}

impl ReplayFile {
    /// Reads the file.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or lacks a tensor of the first `batches`.
    pub fn open(path: &Path, batches: u64) -> Result<Self> {
        let bytes = input_file::read(path, MOST_BYTES);
        let file = Self {
            path: path.to_owned(),
            bytes: Arc::new(bytes.with_context(|| format!("cannot read {}", shown(path)))?),
        };
        let tensors = file.tensors()?;
        for number in 0..batches {
            for (name, dtype) in [
                ("latents", Dtype::F32),
                ("noise", Dtype::F32),
                ("prompt_embeds", Dtype::F32),
                ("timesteps", Dtype::F32),
                ("grid", Dtype::I64),
            ] {
                file.values(&tensors, number, name, dtype)?;
            }
        }
        Ok(file)
    }

    /// Returns the content of the file.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn tensors(&self) -> Result<SafeTensors<'_>> {
        let tensors = SafeTensors::deserialize(&self.bytes);
        tensors.map_err(|error| self.wrong(error.to_string()))
    }

    fn wrong(&self, problem: String) -> anyhow::Error {
        let path = self.path.clone();
        TrainError::Replay { path, problem }.into()
    }

    /// Returns the bytes and the shape of a tensor of a batch.
    fn values<'a>(
        &self,
        tensors: &SafeTensors<'a>,
        number: u64,
        name: &str,
        dtype: Dtype,
    ) -> Result<(&'a [u8], Vec<usize>)> {
        let name = format!("step_{number:03}.{name}");
        let view = tensors
            .tensor(&name)
            .map_err(|_| self.wrong(format!("it has no tensor `{name}`, for batch {number}")))?;
        let axes = match &name {
            name if name.ends_with(".timesteps") || name.ends_with(".grid") => 1,
            _ => 3,
        };
        if view.dtype() != dtype || view.shape().len() != axes {
            let (found, shape) = (view.dtype(), view.shape());
            return Err(self.wrong(format!(
                "`{name}` is {found:?} {shape:?}, but {dtype:?} with {axes} axes is needed"
            )));
        }
        Ok((view.data(), view.shape().to_vec()))
    }

    fn floats(
        &self,
        tensors: &SafeTensors<'_>,
        number: u64,
        name: &str,
    ) -> Result<(Vec<f32>, Vec<usize>)> {
        let (bytes, shape) = self.values(tensors, number, name, Dtype::F32)?;
        let values = bytes.chunks_exact(4);
        let values = values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        Ok((values.collect(), shape))
    }

    /// Makes a batch.
    ///
    /// # Errors
    /// Returns an error that names the missing or wrong tensor.
    pub fn batch<B: Backend>(&self, number: u64, device: &B::Device) -> Result<ImageBatch<B>> {
        let tensors = self.tensors()?;
        let tensor = |name: &str| -> Result<Tensor<B, 3>> {
            let (values, shape) = self.floats(&tensors, number, name)?;
            Ok(Tensor::from_data(
                TensorData::new(values, shape),
                (device, DType::F32),
            ))
        };
        let (grid, shape) = self.values(&tensors, number, "grid", Dtype::I64)?;
        let sides = grid.chunks_exact(8).map(|b| {
            let value = i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
            usize::try_from(value).ok()
        });
        let sides: Option<Vec<usize>> = sides.collect();
        let Some(&[rows, columns]) = sides.as_deref() else {
            return Err(self.wrong(format!(
                "`step_{number:03}.grid` has shape {shape:?}, but rows and columns are needed"
            )));
        };
        Ok(ImageBatch {
            latents: tensor("latents")?,
            noise: tensor("noise")?,
            timesteps: self.floats(&tensors, number, "timesteps")?.0,
            grid: [rows, columns],
            prompts: PromptBatch::Encoded(tensor("prompt_embeds")?),
            token_weights: None,
            image_weights: Vec::new(),
            characters: None,
        })
    }
}

/// Batches of a file on a device.
#[derive(Debug, Clone)]
pub struct ReplaySource<B: Backend> {
    /// File.
    pub file: ReplayFile,
    /// Device of the tensors.
    pub device: B::Device,
}

impl<B: Backend> BatchSource for ReplaySource<B> {
    type Batch = ImageBatch<B>;

    fn batch(&mut self, number: u64) -> Result<ImageBatch<B>> {
        self.file.batch(number, &self.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_lacks_a_tensor_or_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("replay.safetensors");
        std::fs::write(&path, "no tensors").unwrap();
        let error = ReplayFile::open(&path, 1).unwrap_err().to_string();
        assert!(
            error.contains("replay.safetensors cannot be replayed"),
            "{error}"
        );
        let values = [0u8; 8];
        let view =
            safetensors::tensor::TensorView::new(Dtype::F32, vec![1, 1, 2], &values).unwrap();
        let bytes = safetensors::serialize([("step_000.latents", view)], None).unwrap();
        std::fs::write(&path, bytes).unwrap();
        ReplayFile::open(&path, 0).unwrap();
        let error = ReplayFile::open(&path, 1).unwrap_err().to_string();
        assert!(error.contains("step_000.noise"), "{error}");
    }
}
