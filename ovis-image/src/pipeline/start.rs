//! Start of the denoising loop: noise, or an image's latents with noise added.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};

use super::check::{CheckedRequest, LATENT_AXES};
use super::pretrained::OvisImagePipeline;
use crate::error::Result;
use crate::images::mask_of_latents;
use crate::kernels::pack_latents;
use crate::ops::round_to_dtype;
use crate::request::{GenerationRequest, checked_data};
use crate::sampling::{FlowMatchEulerScheduler, NoiseGenerator};

/// Latents and noise that a run begins with.
#[derive(Debug)]
pub(super) struct StartLatents<B: Backend> {
    /// Initial noise, `[images, channels, height, width]`, f32.
    pub(super) noise: Tensor<B, 4>,
    /// Initial noise, or an image's latents with noise added according to the first sigma.
    pub(super) latents: Tensor<B, 4>,
    pub(super) fresh_noise: FreshNoise,
    pub(super) kept: Option<KeptPart<B>>,
}

/// Generators of the images' noise. Samplers that add noise continue to draw from them.
#[derive(Debug, Clone)]
pub(super) struct FreshNoise {
    /// Generators: one for all images, or one for each.
    generators: Vec<NoiseGenerator>,
}

/// Part of an image that is not repainted, packed as `[images, tokens, channels]`, f32.
#[derive(Debug, Clone)]
pub(super) struct KeptPart<B: Backend> {
    /// Latents of the image.
    source: Tensor<B, 3>,
    /// Noise that the loop began with.
    noise: Tensor<B, 3>,
    /// Mask: 1 where the image is repainted, 0 where it is kept.
    mask: Tensor<B, 3>,
}

impl<B: Backend> OvisImagePipeline<B> {
    /// Draws the initial noise and prepares the latents that the loop begins with.
    pub(super) fn start(
        &self,
        request: &GenerationRequest,
        checked: &CheckedRequest,
    ) -> Result<StartLatents<B>> {
        let (noise, fresh_noise) = self.initial_noise(request, checked)?;
        let Some(source) = request.source_image() else {
            return Ok(StartLatents {
                latents: noise.clone(),
                noise,
                fresh_noise,
                kept: None,
            });
        };
        let (width, height) = request.size();
        let encoded = self.encode_image(&source.fitted(width, height))?;
        let encoded = encoded.repeat_dim(0, checked.images);
        let sigma = checked.first_sigma();
        let mask = source.fitted_mask(width, height).map(|mask| {
            let cells = mask_of_latents(&mask, width, self.requirements().scale_factor());
            let [_, _, rows, columns] = checked.latents_shape;
            let data = TensorData::new(cells, [1, 1, rows, columns]);
            Tensor::<B, 4>::from_data(data, (self.device(), DType::F32))
                .expand(checked.latents_shape)
        });
        Ok(StartLatents {
            latents: FlowMatchEulerScheduler::add_noise(encoded.clone(), noise.clone(), sigma),
            kept: mask.map(|mask| KeptPart {
                source: pack_latents(encoded),
                noise: pack_latents(noise.clone()),
                mask: pack_latents(mask),
            }),
            noise,
            fresh_noise,
        })
    }

    /// Draws the initial noise of the images, f32, rounded to the model's dtype as torch does, and
    /// returns it with its generators.
    pub(super) fn initial_noise(
        &self,
        request: &GenerationRequest,
        checked: &CheckedRequest,
    ) -> Result<(Tensor<B, 4>, FreshNoise)> {
        let mut fresh_noise = FreshNoise::of(request);
        let (dtype, shape) = (self.dtype().to_burn(), checked.latents_shape);
        let options = (self.device(), DType::F32);
        if let Some(latents) = request.latents() {
            let data = checked_data("latents", LATENT_AXES, latents, &shape)?;
            let latents = Tensor::<B, 4>::from_data(data, options);
            return Ok((latents.cast(dtype).cast(DType::F32), fresh_noise));
        }
        let mut noise = fresh_noise.values(shape.iter().product());
        for value in &mut noise {
            *value = round_to_dtype(*value, dtype);
        }
        let noise = Tensor::from_data(TensorData::new(noise, shape), options);
        Ok((noise, fresh_noise))
    }
}

impl FreshNoise {
    /// Creates the generators of a request's seeds.
    fn of(request: &GenerationRequest) -> Self {
        let seeds = request.generator_seeds().iter().copied();
        Self {
            generators: seeds.map(NoiseGenerator::from_seed).collect(),
        }
    }

    /// Draws `count` values, divided evenly among the generators as by one `torch.randn` call for
    /// each.
    fn values(&mut self, count: usize) -> Vec<f32> {
        let each = count / self.generators.len().max(1);
        self.generators
            .iter_mut()
            .flat_map(|generator| generator.randn(each))
            .collect()
    }

    /// Draws packed noise with the shape of the given latents.
    pub(super) fn draw<B: Backend>(&mut self, like: &Tensor<B, 3>) -> Tensor<B, 3> {
        let shape = like.dims();
        let data = TensorData::new(self.values(shape.iter().product()), shape);
        Tensor::from_data(data, (&like.device(), DType::F32))
    }
}

impl<B: Backend> KeptPart<B> {
    /// Replaces the kept part of the latents with the image, noised to this sigma.
    pub(super) fn restore(&self, latents: Tensor<B, 3>, sigma: f32) -> Tensor<B, 3> {
        let kept =
            FlowMatchEulerScheduler::add_noise(self.source.clone(), self.noise.clone(), sigma);
        latents * self.mask.clone() + kept * (self.mask.clone().neg() + 1.0)
    }
}
