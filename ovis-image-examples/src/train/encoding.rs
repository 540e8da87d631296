//! Encodes drawn images and captions into the inputs of the transformer.

use anyhow::Result;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Int, Tensor, TensorData};
use ovis_image::ops::pack_latents;
use ovis_image::sampling::NoiseGenerator;
use ovis_image::text_encoder::{PREFIX_TOKENS, PromptTokenizer, TextEncoder, TextEncoderInput};
use ovis_image::training::{ImageBatch, PromptBatch};
use ovis_image::vae::AutoencoderKl;

use super::drawing::pixels;
use super::error::TrainError;
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
        let images = samples.iter().map(|sample| &sample.image);
        let moments = self.vae.encode(pixels::<B>(images, &self.device));
        let latents = self.vae.scale(moments.mean);
        let [count, _, height, width] = latents.dims();
        let grid = [height / 2, width / 2];
        let latents = pack_latents(latents).cast(DType::F32);
        let noise = NoiseGenerator::from_seed(noise_seed).randn(latents.shape().num_elements());
        let noise = TensorData::new(noise, latents.dims());
        let characters = self.characters.then(|| {
            let cells = samples.iter().flat_map(|sample| characters(sample, grid));
            let cells: Vec<i64> = cells.collect();
            let shape = [count, cells.len() / count.max(1)];
            Tensor::<B, 2, Int>::from_data(TensorData::new(cells, shape), &self.device)
        });
        Ok(ImageBatch {
            latents,
            noise: Tensor::from_data(noise, (&self.device, DType::F32)),
            timesteps,
            grid,
            prompts: self.prompts(captions)?,
            token_weights: None,
            characters,
        })
    }

    fn prompts(&self, captions: &[&str]) -> Result<PromptBatch<B>> {
        let (mut ids, mut real) = (Vec::new(), Vec::new());
        for caption in captions {
            let tokens = self.tokenizer.tokenize_to(caption, self.text_rows)?;
            if tokens.truncated > 0 {
                return Err(TrainError::LongCaption {
                    rows: self.text_rows,
                    over: tokens.truncated,
                    caption: (*caption).to_owned(),
                }
                .into());
            }
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
