//! Batches from a cache: latents and prompt embeddings are read, and no model encodes.

use anyhow::Result;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};
use ovis_image::training::{ImageBatch, PromptBatch};

use super::encoding::{image_batch, token_weights};
use super::error::TrainError;
use crate::training_data::cache::Cache;
use crate::training_data::{DataError, DataRow};

/// Reads rows of one bucket with the embeddings of one caption each, or of the empty prompt, with
/// noise from a seed and without timesteps.
pub(super) fn cached_batch<B: Backend>(
    cache: &Cache,
    rows: &[(&DataRow, Option<usize>)],
    text_rows: usize,
    noise_seed: u64,
    device: &B::Device,
) -> Result<ImageBatch<B>> {
    let (mut latents, mut size) = (Vec::new(), Vec::new());
    let (mut embeddings, mut width) = (Vec::new(), 0);
    for (row, caption) in rows {
        let (values, shape) = cache.read(row.latents_key())?;
        same(cache, row, &mut size, shape)?;
        latents.extend(values);
        let key = caption.map_or(cache.empty_prompt(), |index| row.embedding_key(index));
        let (values, shape) = cache.read(key)?;
        let &[tokens, hidden] = shape else {
            return Err(cache.wrong_shape(&row.name).into());
        };
        if tokens > text_rows || hidden == 0 || width != 0 && width != hidden {
            return Err(cache.wrong_shape(&row.name).into());
        }
        width = hidden;
        embeddings.extend(values);
        // The rows after the caption are zero.
        embeddings.resize(embeddings.len() + (text_rows - tokens) * hidden, 0.0);
    }
    let options = (device, DType::F32);
    let [channels, height, columns] = size[..] else {
        return Err(TrainError::EmptyBucket.into());
    };
    let shape = [rows.len(), channels, height, columns];
    let latents = Tensor::<B, 4>::from_data(TensorData::new(latents, shape), options);
    let shape = [rows.len(), text_rows, width];
    let embeddings = Tensor::<B, 3>::from_data(TensorData::new(embeddings, shape), options);
    let mut batch = image_batch(latents, PromptBatch::Encoded(embeddings), noise_seed);
    let rows: Vec<&DataRow> = rows.iter().map(|(row, _)| *row).collect();
    batch.token_weights = token_weights(&rows, &[], batch.grid, device);
    Ok(batch)
}

/// Checks that all latents have one shape, with sides of whole patches.
fn same(
    cache: &Cache,
    row: &DataRow,
    size: &mut Vec<usize>,
    shape: &[usize],
) -> Result<(), DataError> {
    let fits = shape.len() == 3
        && shape[1..]
            .iter()
            .all(|side| *side > 0 && side.is_multiple_of(2));
    if size.is_empty() {
        size.extend_from_slice(shape);
    }
    if fits && size == shape {
        Ok(())
    } else {
        Err(cache.wrong_shape(&row.name))
    }
}
