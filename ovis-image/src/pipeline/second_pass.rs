//! Between two passes: the first pass's latents become the start of the second, at its size.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::check::CheckedSecondPass;
use super::output::Timings;
use super::output::timed;
use super::pretrained::OvisImagePipeline;
use super::start::StartLatents;
use crate::error::Result;
use crate::images::{upscale_image, upscale_latents};
use crate::request::{GenerationRequest, UpscaleMethod};
use crate::sampling::FlowMatchEulerScheduler;

impl<B: Backend> OvisImagePipeline<B> {
    /// Upscales the latents of the first pass, `[images, channels, height, width]`, and adds the
    /// second pass's noise to them.
    pub(super) fn upscaled_start(
        &self,
        first: &GenerationRequest,
        second: &CheckedSecondPass,
        latents: &Tensor<B, 4>,
        timings: &mut Timings,
    ) -> Result<StartLatents<B>> {
        let (request, checked) = (&second.request, &second.checked);
        let clean = match second.upscale {
            UpscaleMethod::Latent => upscale_latents(latents, checked.latents_shape),
            UpscaleMethod::Image => {
                let decode = || self.decode(first, latents);
                let (_, images) = timed(&mut timings.vae_decoding, decode)?;
                let images = images.into_iter().map(|generated| generated.image);
                let encode = |image| self.encode_image(&upscale_image(image, request.size()));
                let encode_all = || images.map(encode).collect::<Result<_>>();
                Tensor::cat(timed(&mut timings.image_encoding, encode_all)?, 0)
            }
        };
        let (noise, fresh_noise) = self.initial_noise(request, checked)?;
        let sigma = checked.first_sigma();
        Ok(StartLatents {
            latents: FlowMatchEulerScheduler::add_noise(clean, noise.clone(), sigma),
            noise,
            fresh_noise,
            kept: None,
        })
    }
}
