//! Encoding of pixels to latents, and decoding of latents to pixels.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use image::RgbImage;

use crate::checkpoint::Checkpoint;
use crate::config::WeightDtype;
use crate::error::{Phase, Result};
use crate::images::{check_finite, from_rgb};
use crate::request::LoadOptions;
use crate::tensor_file::FilesInUse;
use crate::vae::{AutoencoderKl, VaeTiling};
use crate::weights::load_weights;

/// VAE with its dtype. Its latents are f32 and scaled for the transformer, in both directions.
#[derive(Debug, Clone)]
pub(crate) struct ImageCoder<B: Backend> {
    vae: AutoencoderKl<B>,
    dtype: WeightDtype,
    files_in_use: FilesInUse,
    device: B::Device,
}

impl<B: Backend> ImageCoder<B> {
    /// Reads a checkpoint's VAE.
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        options: &LoadOptions,
        in_place: bool,
        device: &B::Device,
    ) -> Result<Self> {
        let (part, dtype) = (&checkpoint.vae, options.resolved_vae_dtype());
        let vae = load_weights(
            part.config.init(device),
            part.weights(dtype, in_place),
            |stored| options.vae_placement(stored),
            device,
        )?;
        Ok(Self {
            files_in_use: FilesInUse::new(vae.files),
            ..Self::new(vae.model, dtype, device)
        })
    }

    /// Wraps a VAE whose weights have this dtype.
    pub(crate) fn new(vae: AutoencoderKl<B>, dtype: WeightDtype, device: &B::Device) -> Self {
        Self {
            vae,
            dtype,
            files_in_use: FilesInUse::default(),
            device: device.clone(),
        }
    }

    /// Checks that no file in use was shortened or overwritten.
    pub(crate) fn check_files(&self) -> Result<()> {
        self.files_in_use.check()
    }

    pub(crate) fn vae(&self) -> &AutoencoderKl<B> {
        &self.vae
    }

    pub(crate) fn dtype(&self) -> WeightDtype {
        self.dtype
    }

    /// Decodes latents to pixels, `[images, 3, height, width]`, f32 in 0..1.
    ///
    /// Images are decoded one after another, because the decoder's activations are the largest of
    /// all.
    pub(crate) fn decode(
        &self,
        latents: &Tensor<B, 4>,
        tiling: Option<VaeTiling>,
    ) -> Result<Tensor<B, 4>> {
        self.check_files()?;
        let images = latents.dims()[0];
        let decode = |image| {
            let latents = latents.clone().narrow(0, image, 1);
            let latents = latents.cast(self.dtype.to_burn());
            let pixels = match tiling {
                Some(tiling) => self.vae.decode_tiled(latents, tiling),
                None => self.vae.decode(latents).cast(DType::F32),
            };
            // Checked before the clamp, which would hide infinity, and on some GPUs NaN.
            check_finite(&pixels, Phase::Vae)?;
            Ok((pixels / 2.0 + 0.5).clamp(0.0, 1.0))
        };
        let decoded = (0..images).map(decode).collect::<Result<_>>()?;
        Ok(Tensor::cat(decoded, 0))
    }

    /// Encodes an image to latents: the mean of the VAE's distribution, scaled.
    pub(crate) fn encode(&self, image: &RgbImage) -> Result<Tensor<B, 4>> {
        self.check_files()?;
        let pixels = from_rgb::<B>(image, &self.device).cast(self.dtype.to_burn());
        let distribution = self.vae.encode(pixels);
        let latents = self.vae.scale(distribution.mean).cast(DType::F32);
        check_finite(&latents, Phase::Vae)?;
        Ok(latents)
    }
}
