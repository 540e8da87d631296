//! Writes encodings: each file appears complete or not at all.

use std::path::{Path, PathBuf};

use anyhow::Result;
use half::bf16;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::shared::output_file::write_whole;

/// Bytes at which a file is written.
const MOST_BYTES: usize = 64 << 20;

/// Tensors at which a file is written, so that a killed run loses little work.
const MOST_TENSORS: usize = 256;

/// Encodings that wait to be written.
#[derive(Debug)]
pub struct ShardWriter {
    folder: PathBuf,
    next: u64,
    waiting: Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
}

impl ShardWriter {
    /// Creates a writer whose first file has a number.
    pub fn new(folder: &Path, first: u64) -> Self {
        Self {
            folder: folder.to_owned(),
            next: first,
            waiting: Vec::new(),
        }
    }

    /// Adds a tensor, in bf16 if its values are exact in it. Writes a file if enough are waiting.
    ///
    /// # Errors
    /// Returns the error of writing.
    pub fn add(
        &mut self,
        key: String,
        shape: Vec<usize>,
        values: &[f32],
        is_bf16: bool,
    ) -> Result<()> {
        let (dtype, bytes) = if is_bf16 {
            let values = values
                .iter()
                .map(|value| bf16::from_f32(*value).to_le_bytes());
            (Dtype::BF16, values.flatten().collect())
        } else {
            let values = values.iter().map(|value| value.to_le_bytes());
            (Dtype::F32, values.flatten().collect::<Vec<u8>>())
        };
        self.waiting.push((key, dtype, shape, bytes));
        let bytes: usize = self.waiting.iter().map(|(.., bytes)| bytes.len()).sum();
        if bytes >= MOST_BYTES || self.waiting.len() >= MOST_TENSORS {
            self.write()?;
        }
        Ok(())
    }

    /// Writes what is waiting.
    ///
    /// # Errors
    /// Returns the error of writing.
    pub fn write(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let mut views = Vec::new();
        for (key, dtype, shape, bytes) in &self.waiting {
            views.push((key, TensorView::new(*dtype, shape.clone(), bytes)?));
        }
        let file = safetensors::serialize(views, None)?;
        let name = format!("shard-{:06}.safetensors", self.next);
        write_whole(&self.folder.join(name), &file)?;
        self.next += 1;
        self.waiting.clear();
        Ok(())
    }
}
