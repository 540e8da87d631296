//! Encodes images and captions into the inputs of the transformer.

use anyhow::Result;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor, TensorData};
use image::{GrayImage, RgbImage};
use ovis_image::ops::pack_latents;
use ovis_image::sampling::NoiseGenerator;
use ovis_image::text_encoder::{
    PREFIX_TOKENS, PromptTokenizer, TextEncoder, TextEncoderInput, TokenizedPrompt,
};
use ovis_image::training::{ImageBatch, PromptBatch};
use ovis_image::vae::AutoencoderKl;

use super::drawing::pixels;
use super::error::TrainError;
use crate::training_data::{DataRow, cell_means, upright};
use crate::typography::TypographySample;

/// Number of cells of the auxiliary term along each side of an image token.
pub(super) const CELLS: usize = 2;

/// Frozen models that encode, with their settings.
#[derive(Debug, Clone)]
pub struct Encoding<B: Backend> {
    /// VAE.
    pub vae: AutoencoderKl<B>,
    /// Tokenizer.
    pub tokenizer: PromptTokenizer,
    /// Text encoder, unless it is trained.
    pub text_encoder: Option<TextEncoder<B>>,
    /// Number of text rows after the prefix.
    pub text_rows: usize,
    /// True if batches include the class of the character in each cell.
    pub characters: bool,
    /// Device of the tensors.
    pub device: B::Device,
}

impl<B: Backend> Encoding<B> {
    /// Encodes images of one size with their captions, with noise from a seed.
    ///
    /// # Errors
    /// Returns an error if a caption is too long.
    pub fn batch(
        &self,
        samples: &[TypographySample],
        captions: &[&str],
        timesteps: Vec<f32>,
        noise_seed: u64,
    ) -> Result<ImageBatch<B>> {
        let latents = self.latents(samples.iter().map(|sample| &sample.image));
        let mut batch = image_batch(latents, self.prompts(captions)?, noise_seed);
        batch.timesteps = timesteps;
        batch.characters = self.characters.then(|| {
            let cells = samples
                .iter()
                .flat_map(|sample| characters(sample, batch.grid));
            let cells: Vec<i64> = cells.collect();
            let shape = [samples.len(), cells.len() / samples.len().max(1)];
            Tensor::<B, 2, Int>::from_data(TensorData::new(cells, shape), &self.device)
        });
        Ok(batch)
    }

    /// Reads and encodes the images of rows of one bucket with their captions, with noise from a
    /// seed and without timesteps. Padding and what is masked do not count in the loss.
    ///
    /// # Errors
    /// Returns an error if an image cannot be read, or if a caption is too long.
    pub fn rows(
        &self,
        rows: &[&DataRow],
        captions: &[&str],
        noise_seed: u64,
    ) -> Result<ImageBatch<B>> {
        self.rows_with(rows, self.prompts(captions)?, noise_seed)
    }

    /// Like [`rows`](Self::rows), with prompts that are encoded already.
    pub(super) fn rows_with(
        &self,
        rows: &[&DataRow],
        prompts: PromptBatch<B>,
        noise_seed: u64,
    ) -> Result<ImageBatch<B>> {
        let (mut images, mut masks) = (Vec::new(), Vec::new());
        for row in rows {
            let image = upright(row)?;
            masks.push(
                row.mask
                    .of(&image)?
                    .map(|mask| row.frame.apply_to_mask(mask)),
            );
            images.push(row.frame.apply(image));
        }
        let latents = self.latents(&images);
        let mut batch = image_batch(latents, prompts, noise_seed);
        batch.token_weights = token_weights(rows, &masks, batch.grid, &self.device);
        if rows.iter().any(|row| row.loss_weight != 1.0) {
            batch.image_weights = rows.iter().map(|row| row.loss_weight).collect();
        }
        Ok(batch)
    }

    fn latents<'a>(&self, images: impl IntoIterator<Item = &'a RgbImage>) -> Tensor<B, 4> {
        let moments = self.vae.encode(pixels::<B>(images, &self.device));
        self.vae.scale(moments.mean)
    }

    pub(super) fn prompts(&self, captions: &[&str]) -> Result<PromptBatch<B>> {
        let (mut ids, mut real) = (Vec::new(), Vec::new());
        for caption in captions {
            let tokens = tokens_of(&self.tokenizer, caption, self.text_rows)?;
            ids.extend(tokens.padded_ids());
            let mask = tokens.attention_mask().into_iter().skip(PREFIX_TOKENS);
            real.extend(mask.map(|real| real as f32));
        }
        let (count, rows) = (captions.len(), self.text_rows);
        let ids = TensorData::new(ids, [count, PREFIX_TOKENS + rows]);
        let input_ids = Tensor::<B, 2, Int>::from_data(ids, &self.device);
        let real = TensorData::new(real, [count, rows, 1]);
        let real = Tensor::<B, 3>::from_data(real, (&self.device, DType::F32));
        let Some(encoder) = &self.text_encoder else {
            return Ok(PromptBatch::Tokens { input_ids, real });
        };
        // Padding stands on the right and attention is causal: real rows do not see it.
        let hidden = encoder.forward(TextEncoderInput {
            input_ids,
            attention_mask: None,
        });
        let hidden = hidden.narrow(1, PREFIX_TOKENS, rows).cast(DType::F32);
        Ok(PromptBatch::Encoded(hidden * real))
    }
}

/// Tokenizes a caption.
///
/// # Errors
/// Returns [`TrainError::LongCaption`] if it does not fit the text rows.
pub(super) fn tokens_of(
    tokenizer: &PromptTokenizer,
    caption: &str,
    rows: usize,
) -> Result<TokenizedPrompt> {
    let tokens = tokenizer.tokenize_to(caption, rows)?;
    if tokens.truncated > 0 {
        return Err(TrainError::LongCaption {
            rows,
            over: tokens.truncated,
            caption: caption.to_owned(),
        }
        .into());
    }
    Ok(tokens)
}

/// Reads the images of rows of one bucket.
///
/// # Errors
/// Returns an error that names the image that cannot be read.
pub(super) fn images_of(rows: &[&DataRow]) -> Result<Vec<RgbImage>> {
    let images = rows.iter().map(|row| Ok(row.frame.apply(upright(row)?)));
    images.collect()
}

/// Packs latents into a batch with noise from a seed, without timesteps.
pub(super) fn image_batch<B: Backend>(
    latents: Tensor<B, 4>,
    prompts: PromptBatch<B>,
    noise_seed: u64,
) -> ImageBatch<B> {
    let [_, _, height, width] = latents.dims();
    let latents = pack_latents(latents).cast(DType::F32);
    packed_batch(latents, [height / 2, width / 2], prompts, noise_seed)
}

/// Makes a batch of packed latents in f32 with noise from a seed, without timesteps.
pub(super) fn packed_batch<B: Backend>(
    latents: Tensor<B, 3>,
    grid: [usize; 2],
    prompts: PromptBatch<B>,
    noise_seed: u64,
) -> ImageBatch<B> {
    let device = latents.device();
    let noise = NoiseGenerator::from_seed(noise_seed).randn(latents.shape().num_elements());
    let noise = TensorData::new(noise, latents.dims());
    ImageBatch {
        latents,
        noise: Tensor::from_data(noise, (&device, DType::F32)),
        timesteps: Vec::new(),
        grid,
        prompts,
        token_weights: None,
        image_weights: Vec::new(),
        characters: None,
    }
}

/// Returns the weights of tokens, `[batch, tokens, 1]`: 0 for those that are all padding, and else
/// the mean of the mask of the image, if it has one. `None` if all weights are 1.
pub(super) fn token_weights<B: Backend>(
    rows: &[&DataRow],
    masks: &[Option<GrayImage>],
    grid: [usize; 2],
    device: &B::Device,
) -> Option<Tensor<B, 3>> {
    let tokens = grid[0] * grid[1];
    let cells = rows.iter().enumerate().map(|(index, row)| {
        let shown = row.frame.shown_cells(grid);
        let mask = masks.get(index).and_then(Option::as_ref);
        match (shown, mask.map(|mask| cell_means(mask, grid))) {
            (Some(shown), Some(mask)) => Some(shown.iter().zip(mask).map(|(a, b)| a * b).collect()),
            (shown, mask) => shown.or(mask),
        }
    });
    let cells: Vec<Option<Vec<f32>>> = cells.collect();
    if cells.iter().all(Option::is_none) {
        return None;
    }
    let cells = cells.into_iter();
    let weights: Vec<f32> = cells
        .flat_map(|cells| cells.unwrap_or_else(|| vec![1.0; tokens]))
        .collect();
    let weights = TensorData::new(weights, [rows.len(), tokens, 1]);
    Some(Tensor::from_data(weights, (device, DType::F32)))
}

/// Returns the classes of the cells of an image, token by token.
fn characters(sample: &TypographySample, [rows, columns]: [usize; 2]) -> Vec<i64> {
    let across = CELLS * columns;
    let classes = sample.character_grid((CELLS * rows) as u32, across as u32);
    let cell = |row: usize, column: usize| i64::from(classes[row * across + column]);
    let mut ordered = Vec::with_capacity(classes.len());
    for token in 0..rows * columns {
        let (top, left) = (CELLS * (token / columns), CELLS * (token % columns));
        for part in 0..CELLS * CELLS {
            ordered.push(cell(top + part / CELLS, left + part % CELLS));
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::typography::{Fonts, Preset, SyntheticTypography};

    #[test]
    fn cells_stand_token_by_token() {
        let (preset, _) = Preset::open("signs").unwrap();
        let signs = SyntheticTypography::new(preset, Fonts::embedded())
            .with_size(128, 96)
            .unwrap();
        let sample = signs.sample(3, 1).unwrap();
        let plain = sample.character_grid(12, 16);
        let ordered = characters(&sample, [6, 8]);
        assert_eq!(ordered.len(), plain.len());
        for row in 0..12 {
            for column in 0..16 {
                let token = (row / 2) * 8 + column / 2;
                let cell = (row % 2) * 2 + column % 2;
                assert_eq!(
                    ordered[token * 4 + cell],
                    i64::from(plain[row * 16 + column])
                );
            }
        }
    }
}
