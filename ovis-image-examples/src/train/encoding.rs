//! Encodes images and captions into the inputs of the transformer.

use anyhow::Result;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor, TensorData};
use image::RgbImage;
use ovis_image::ops::pack_latents;
use ovis_image::sampling::NoiseGenerator;
use ovis_image::text_encoder::{
    PREFIX_TOKENS, PromptTokenizer, TextEncoder, TextEncoderInput, TokenizedPrompt,
};
use ovis_image::training::{ImageBatch, PromptBatch};
use ovis_image::vae::AutoencoderKl;

use super::drawing::pixels;
use super::error::TrainError;
use crate::training_data::{DataRow, upright};
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
    /// seed and without timesteps. Padding does not count in the loss.
    ///
    /// # Errors
    /// Returns an error if an image cannot be read, or if a caption is too long.
    pub fn rows(
        &self,
        rows: &[&DataRow],
        captions: &[&str],
        noise_seed: u64,
    ) -> Result<ImageBatch<B>> {
        let images = images_of(rows)?;
        let latents = self.latents(&images);
        let mut batch = image_batch(latents, self.prompts(captions)?, noise_seed);
        batch.token_weights = shown_tokens(rows, batch.grid, &self.device);
        Ok(batch)
    }

    fn latents<'a>(&self, images: impl IntoIterator<Item = &'a RgbImage>) -> Tensor<B, 4> {
        let moments = self.vae.encode(pixels::<B>(images, &self.device));
        self.vae.scale(moments.mean)
    }

    fn prompts(&self, captions: &[&str]) -> Result<PromptBatch<B>> {
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
    let device = latents.device();
    let latents = pack_latents(latents).cast(DType::F32);
    let noise = NoiseGenerator::from_seed(noise_seed).randn(latents.shape().num_elements());
    let noise = TensorData::new(noise, latents.dims());
    ImageBatch {
        latents,
        noise: Tensor::from_data(noise, (&device, DType::F32)),
        timesteps: Vec::new(),
        grid: [height / 2, width / 2],
        prompts,
        token_weights: None,
        characters: None,
    }
}

/// Returns 0 for tokens that are all padding and 1 for the others, `[batch, tokens, 1]`; `None` if
/// there is no padding.
pub(super) fn shown_tokens<B: Backend>(
    rows: &[&DataRow],
    grid: [usize; 2],
    device: &B::Device,
) -> Option<Tensor<B, 3>> {
    let tokens = grid[0] * grid[1];
    let shown: Vec<Option<Vec<f32>>> = rows.iter().map(|row| row.frame.shown_cells(grid)).collect();
    if shown.iter().all(Option::is_none) {
        return None;
    }
    let shown = shown.into_iter();
    let weights: Vec<f32> = shown
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
