//! Individual stages of a generation, for programs that need only some of them.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use image::RgbImage;

use super::pretrained::OvisImagePipeline;
use crate::error::{Phase, RequestError, Result};
use crate::images::{PreviewDecoder, PreviewFit, download};
use crate::loaded_models::EncodedPrompts;
use crate::request::validate_sequence_length;
use crate::text_encoder::MAX_PROMPT_TOKENS;
use crate::vae::VaeTiling;

impl<B: Backend> OvisImagePipeline<B> {
    /// Encodes prompts to 256 rows of text each, for
    /// [`GenerationRequest::from_prompt_embeds`](crate::GenerationRequest::from_prompt_embeds) or
    /// for inspection.
    ///
    /// # Errors
    /// Returns [`RequestError::InvalidArgument`](RequestError::InvalidArgument) if there are no
    /// prompts, the errors of [`tokenizer`](Self::tokenizer), and
    /// [`RuntimeError::NonFinite`](crate::error::RuntimeError::NonFinite) if the embeddings are not
    /// finite.
    pub fn encode_prompts<S: AsRef<str>>(&self, prompts: &[S]) -> Result<EncodedPrompts<B>> {
        self.encode_prompts_to(prompts, MAX_PROMPT_TOKENS)
    }

    /// Like [`encode_prompts`](Self::encode_prompts), with a given number of rows
    /// ([`GenerationRequest::with_max_sequence_length`](crate::GenerationRequest::with_max_sequence_length)).
    ///
    /// # Errors
    /// Returns the errors of [`encode_prompts`](Self::encode_prompts), and
    /// [`RequestError::InvalidArgument`](RequestError::InvalidArgument) if the length is not
    /// between 1 and 256.
    pub fn encode_prompts_to<S: AsRef<str>>(
        &self,
        prompts: &[S],
        max_sequence_length: usize,
    ) -> Result<EncodedPrompts<B>> {
        validate_sequence_length(max_sequence_length)?;
        self.prompt_encoder().encode(prompts, max_sequence_length)
    }

    /// Decodes latents to pixels, `[images, 3, height, width]`, f32 in 0..1. Decodes in tiles if a
    /// tiling is given.
    ///
    /// # Shapes
    /// - `latents`: `[images, latent channels, height, width]`, scaled as for the transformer
    ///
    /// # Errors
    /// Returns [`RequestError::ShapeMismatch`](RequestError::ShapeMismatch) if the number of
    /// channels is wrong, [`RequestError::InvalidArgument`](RequestError::InvalidArgument) if the
    /// VAE does not support the tiling, and
    /// [`RuntimeError::NonFinite`](crate::error::RuntimeError::NonFinite) if the decoder's output
    /// is not finite.
    pub fn decode_latents(
        &self,
        latents: Tensor<B, 4>,
        tiling: Option<VaeTiling>,
    ) -> Result<Tensor<B, 4>> {
        self.requirements().check_tiling(tiling)?;
        let [images, channels, height, width] = latents.dims();
        let expected = self.requirements().latent_channels();
        if channels != expected || images == 0 || height == 0 || width == 0 {
            return Err(RequestError::ShapeMismatch {
                argument: "latents",
                meaning: "images, latent channels, height, width",
                expected: vec![images.max(1), expected, height.max(1), width.max(1)],
                actual: vec![images, channels, height, width],
            }
            .into());
        }
        self.image_coder().decode(&latents, tiling)
    }

    /// Encodes an image to latents for the transformer, `[1, latent channels, height / 8, width /
    /// 8]`, f32: the mean of the VAE's distribution, scaled.
    ///
    /// # Errors
    /// Returns [`RequestError::InvalidSize`](RequestError::InvalidSize) if a side is not a multiple
    /// of [`size_multiple`](Self::size_multiple), and
    /// [`MemoryError::TooLargeForMemory`](crate::error::MemoryError::TooLargeForMemory) if the
    /// image does not fit in memory.
    pub fn encode_image(&self, image: &RgbImage) -> Result<Tensor<B, 4>> {
        let (width, height) = (image.width() as usize, image.height() as usize);
        self.requirements().check_image(width, height)?;
        self.image_coder().encode(image)
    }

    /// Fits a preview decoder to this pipeline's VAE.
    ///
    /// Encodes a few synthetic images of colored patches and fits a linear map from their latents
    /// to their colors. Takes as long as encoding six images of 128x128 pixels.
    ///
    /// # Errors
    /// Returns the errors of [`encode_image`](Self::encode_image).
    pub fn preview_decoder(&self) -> Result<PreviewDecoder> {
        let mut fit = PreviewFit::new(self.requirements().latent_channels());
        for image in PreviewFit::images(self.requirements().scale_factor()) {
            let latents = self.encode_image(&image)?;
            fit.add(&image, &download(latents, Phase::Vae)?);
        }
        fit.solve()
    }
}
