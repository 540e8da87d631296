//! What the denoising loop starts from: the noise, and an image's latents with some of it.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};

use super::check::{CheckedRequest, LATENT_AXES};
use super::pretrained::OvisImagePipeline;
use crate::error::Result;
use crate::images::mask_of_latents;
use crate::ops::{pack_latents, round_to_dtype};
use crate::request::{GenerationParameters, GenerationRequest, checked_data};
use crate::sampling::{FlowMatchEulerScheduler, NoiseGenerator};

/// What a run begins with.
#[derive(Debug)]
pub(super) struct StartLatents<B: Backend> {
    /// `[images, channels, height, width]`, f32.
    pub(super) noise: Tensor<B, 4>,
    /// The noise, or an image's latents with as much of it as the first sigma says.
    pub(super) latents: Tensor<B, 4>,
    pub(super) fresh_noise: FreshNoise,
    pub(super) kept: Option<KeptPart<B>>,
}

/// The generators of the images' noise, which samplers that add some go on drawing from.
#[derive(Debug, Clone)]
pub(super) struct FreshNoise {
    /// One for all images, or one each.
    generators: Vec<NoiseGenerator>,
}

/// The part of an image that is not repainted, packed `[images, tokens, channels]`, f32.
#[derive(Debug, Clone)]
pub(super) struct KeptPart<B: Backend> {
    /// The image's latents.
    source: Tensor<B, 3>,
    /// The noise that the loop began with.
    noise: Tensor<B, 3>,
    /// 1 where it is repainted, 0 where it is kept.
    mask: Tensor<B, 3>,
}

impl<B: Backend> OvisImagePipeline<B> {
    /// The noise, and what the loop begins with.
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
        let sigma = checked.sigmas.first().copied().unwrap_or(0.0);
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

    /// The noise of the images, f32, rounded as torch rounds it to the model's dtype, and the
    /// generators that drew it.
    fn initial_noise(
        &self,
        request: &GenerationRequest,
        checked: &CheckedRequest,
    ) -> Result<(Tensor<B, 4>, FreshNoise)> {
        let mut fresh_noise = FreshNoise::of(request.parameters());
        let (dtype, shape) = (self.dtype().to_burn(), checked.latents_shape);
        let options = (self.device(), DType::F32);
        if let Some(latents) = request.latents() {
            let data = checked_data("latents", LATENT_AXES, latents, &shape)?;
            let latents = Tensor::<B, 4>::from_data(data, options);
            fresh_noise.need_not_fit(checked.images);
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
    /// The generators of a request's seeds, before they drew anything.
    fn of(parameters: &GenerationParameters) -> Self {
        let seeds = &parameters.seeds[..];
        let seeds = match seeds {
            [] => &[0],
            [shared, ..] if parameters.is_seed_shared => std::slice::from_ref(shared),
            each => each,
        };
        let generators = seeds.iter().copied().map(NoiseGenerator::from_seed);
        Self {
            generators: generators.collect(),
        }
    }

    /// Leaves one generator where there is not one for each image, which custom noise need not come
    /// with seeds for.
    fn need_not_fit(&mut self, images: usize) {
        if self.generators.len() != images {
            self.generators.truncate(1);
        }
    }

    /// As many values as one `torch.randn` per generator gives them.
    fn values(&mut self, count: usize) -> Vec<f32> {
        let each = count / self.generators.len().max(1);
        self.generators
            .iter_mut()
            .flat_map(|generator| generator.randn(each))
            .collect()
    }

    /// Packed noise of the shape of latents.
    pub(super) fn draw<B: Backend>(&mut self, like: &Tensor<B, 3>) -> Tensor<B, 3> {
        let shape = like.dims();
        let data = TensorData::new(self.values(shape.iter().product()), shape);
        Tensor::from_data(data, (&like.device(), DType::F32))
    }
}

impl<B: Backend> KeptPart<B> {
    /// The latents with the kept part as the image is at this sigma.
    pub(super) fn restore(&self, latents: Tensor<B, 3>, sigma: f32) -> Tensor<B, 3> {
        let kept =
            FlowMatchEulerScheduler::add_noise(self.source.clone(), self.noise.clone(), sigma);
        latents * self.mask.clone() + kept * (self.mask.clone().neg() + 1.0)
    }
}
