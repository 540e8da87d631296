//! Pixels to latents and back.

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

/// The VAE with its dtype. Latents in and out are f32, as the transformer speaks them.
#[derive(Debug, Clone)]
pub(super) struct ImageCoder<B: Backend> {
    vae: AutoencoderKl<B>,
    dtype: WeightDtype,
    files_in_use: FilesInUse,
    device: B::Device,
}

impl<B: Backend> ImageCoder<B> {
    /// Reads a checkpoint's VAE.
    pub(super) fn load(
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

    /// Takes a VAE whose weights are of the dtype.
    pub(super) fn new(vae: AutoencoderKl<B>, dtype: WeightDtype, device: &B::Device) -> Self {
        Self {
            vae,
            dtype,
            files_in_use: FilesInUse::default(),
            device: device.clone(),
        }
    }

    /// Checks that no file that is still read was shortened or overwritten.
    pub(super) fn check_files(&self) -> Result<()> {
        self.files_in_use.check()
    }

    pub(super) fn vae(&self) -> &AutoencoderKl<B> {
        &self.vae
    }

    pub(super) fn dtype(&self) -> WeightDtype {
        self.dtype
    }

    /// Decodes one image after another, as the decoder's activations are the largest of all:
    /// `[images, 3, height, width]`, f32 in 0..1.
    pub(super) fn decode(
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
            // Looked at before the clamp, which would hide infinity, and on some GPUs NaN.
            check_finite(&pixels, Phase::Vae)?;
            Ok((pixels / 2.0 + 0.5).clamp(0.0, 1.0))
        };
        let decoded = (0..images).map(decode).collect::<Result<_>>()?;
        Ok(Tensor::cat(decoded, 0))
    }

    /// The mean of the distribution of an image's latents, scaled.
    pub(super) fn encode(&self, image: &RgbImage) -> Result<Tensor<B, 4>> {
        self.check_files()?;
        let pixels = from_rgb::<B>(image, &self.device).cast(self.dtype.to_burn());
        let distribution = self.vae.encode(pixels);
        let latents = self.vae.scale(distribution.mean).cast(DType::F32);
        check_finite(&latents, Phase::Vae)?;
        Ok(latents)
    }
}
