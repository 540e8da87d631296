//! Previews of the images that a run is going to produce.

use burn::tensor::backend::Backend;
use image::RgbImage;

use super::denoise::DenoisingStep;
use super::pretrained::OvisImagePipeline;
use crate::error::{Phase, Result};
use crate::images::download;
use crate::images::{PreviewDecoder, PreviewFit};

impl<B: Backend> OvisImagePipeline<B> {
    /// Fits a preview decoder to this pipeline's VAE: encodes a few synthetic images of colored
    /// patches and finds the linear map from their latents back to their colors. Takes as long as
    /// encoding six images of 128x128 pixels, once.
    ///
    /// # Errors
    /// The errors of [`encode_image`](Self::encode_image).
    pub fn preview_decoder(&self) -> Result<PreviewDecoder> {
        let vae = &self.requirements.vae;
        let mut fit = PreviewFit::new(vae.latent_channels);
        for image in PreviewFit::images(vae.scale_factor()) {
            let latents = self.encode_image(&image)?;
            fit.add(&image, &download(latents, Phase::Vae)?);
        }
        fit.solve()
    }
}

impl<B: Backend> DenoisingStep<B> {
    /// The images that this step's prediction implies, with one pixel for 8x8 pixels.
    ///
    /// # Errors
    /// The errors of [`PreviewDecoder::images`].
    pub fn preview(&self, decoder: &PreviewDecoder) -> Result<Vec<RgbImage>> {
        decoder.images(self.predicted_clean_latents())
    }
}
