//! Encodings of all images and captions, made once before training, so that the models that encode
//! need no memory during it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use ovis_image::training::{ImageBatch, PromptBatch};

use super::data::ChosenCaption;
use super::encoding::{Encoding, packed_batch};
use crate::shared::progress::CountBar;
use crate::training_data::DataRow;

/// Maximum size of all encodings, in bytes: some 1,400 images of 1024x1024 with captions of their own.
pub(super) const MOST_BYTES: u64 = 4 << 30;

/// Estimates the size of the encodings of rows, in bytes, for the release's models: 16 channels for
/// 8x8 pixels, and 2048 numbers a text row.
pub(super) fn encoded_bytes(rows: &[DataRow], text_rows: usize) -> u64 {
    let pixels = rows.iter().map(|row| {
        let [width, height] = row.frame.bucket.map(u64::from);
        width * height
    });
    let captions = rows.iter().flat_map(|row| &row.captions);
    let captions: BTreeSet<&str> = captions.map(|(_, caption)| caption.as_str()).collect();
    pixels.sum::<u64>() + (captions.len() * text_rows * 4 * 2048) as u64
}

/// Encodings of an image, on the host.
#[derive(Debug)]
struct EncodedRow {
    /// Packed latents, `[1, tokens, channels]`.
    latents: TensorData,
    grid: [usize; 2],
    /// Weights of the tokens, `[1, tokens, 1]`, unless all are 1.
    token_weights: Option<TensorData>,
    loss_weight: f32,
}

/// Encodings of all rows.
#[derive(Debug)]
pub struct EncodedRows {
    /// Encoded images, by their files.
    images: BTreeMap<PathBuf, EncodedRow>,
    /// Embeddings of captions and of the empty prompt, `[1, text rows, hidden]`.
    captions: BTreeMap<String, TensorData>,
}

impl EncodedRows {
    /// Encodes all rows with their captions as they are.
    ///
    /// # Errors
    /// Returns an error that names the image that cannot be read.
    pub(super) fn new<B: Backend>(encoding: &Encoding<B>, rows: &[DataRow]) -> Result<Self> {
        let bar = CountBar::new("images encoded", rows.len() as u64);
        let mut images = BTreeMap::new();
        let mut captions = BTreeMap::from([(String::new(), embeddings(encoding, "")?)]);
        for row in rows {
            images.insert(row.image.clone(), encode(encoding, row)?);
            for (_, caption) in &row.captions {
                if !captions.contains_key(caption) {
                    captions.insert(caption.clone(), embeddings(encoding, caption)?);
                }
            }
            bar.advance();
        }
        Ok(Self { images, captions })
    }

    /// Returns a batch of rows of one bucket with one caption each, or the empty prompt, with noise
    /// from a seed and without timesteps.
    ///
    /// # Errors
    /// Returns an error if a row was not encoded.
    pub(super) fn batch<B: Backend>(
        &self,
        rows: &[(&DataRow, Option<ChosenCaption>)],
        noise_seed: u64,
        device: &B::Device,
    ) -> Result<ImageBatch<B>> {
        let mut found = Vec::with_capacity(rows.len());
        for (row, caption) in rows {
            let caption = caption.as_ref();
            let caption = caption.map_or("", |caption| caption.text.as_str());
            let encoded = self.images.get(&row.image).zip(self.captions.get(caption));
            let (encoded, embeds) =
                encoded.with_context(|| format!("{} was not encoded", row.name))?;
            found.push((encoded, embeds));
        }
        let tensor = |data: &TensorData| Tensor::<B, 3>::from_data(data.clone(), device);
        let joined = |tensors: Vec<Tensor<B, 3>>| Tensor::cat(tensors, 0);
        let latents = joined(found.iter().map(|(row, _)| tensor(&row.latents)).collect());
        let embeds = joined(found.iter().map(|(_, embeds)| tensor(embeds)).collect());
        let grid = found.first().map_or([0, 0], |(row, _)| row.grid);
        let mut batch = packed_batch(latents, grid, PromptBatch::Encoded(embeds), noise_seed);
        if found.iter().any(|(row, _)| row.token_weights.is_some()) {
            let tokens = grid[0] * grid[1];
            let weights = found.iter().map(|(row, _)| match &row.token_weights {
                Some(weights) => tensor(weights),
                None => Tensor::ones([1, tokens, 1], device),
            });
            batch.token_weights = Some(joined(weights.collect()));
        }
        if found.iter().any(|(row, _)| row.loss_weight != 1.0) {
            batch.image_weights = found.iter().map(|(row, _)| row.loss_weight).collect();
        }
        Ok(batch)
    }
}

fn encode<B: Backend>(encoding: &Encoding<B>, row: &DataRow) -> Result<EncodedRow> {
    let nothing = PromptBatch::Encoded(Tensor::zeros([1, 1, 1], &encoding.device));
    let batch = encoding.rows_with(&[row], nothing, 0)?;
    Ok(EncodedRow {
        latents: batch.latents.into_data(),
        grid: batch.grid,
        token_weights: batch.token_weights.map(Tensor::into_data),
        loss_weight: row.loss_weight,
    })
}

fn embeddings<B: Backend>(encoding: &Encoding<B>, caption: &str) -> Result<TensorData> {
    match encoding.prompts(&[caption])? {
        PromptBatch::Encoded(embeds) => Ok(embeds.into_data()),
        PromptBatch::Tokens { .. } => anyhow::bail!("the text encoder is trained"),
    }
}
