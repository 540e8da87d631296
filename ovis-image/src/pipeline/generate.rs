use std::convert::Infallible;
use std::ops::ControlFlow;
use std::time::Instant;

use burn::tensor::{DType, Tensor, TensorData};
use image::RgbImage;

use super::check::{LATENT_AXES, Plan};
use super::denoise::Denoiser;
use super::encode::EncodedPrompts;
use super::image::{from_rgb, to_rgb};
use super::output::{GeneratedImage, GenerationOutput, GenerationSettings, Timings};
use super::pretrained::OvisImagePipeline;
use super::progress::Progress;
use super::request::{GenerationRequest, Seeds};
use crate::backend::OvisOps;
use crate::error::{OvisImageError, Phase, Result};
use crate::ops::{pack_latents, round_to_dtype};
use crate::sampling::NoiseGenerator;
use crate::text_encoder::MAX_PROMPT_TOKENS;
use crate::vae::VaeTiling;

impl<B: OvisOps> OvisImagePipeline<B> {
    /// Generates the images of a request.
    ///
    /// # Errors
    /// Every argument is checked before any work; see the variants of [`OvisImageError`]. After
    /// that, [`OvisImageError::NonFinite`] names a phase that produced NaN or infinity.
    pub fn generate(&self, request: &GenerationRequest) -> Result<GenerationOutput<B>> {
        self.run(
            request,
            None::<fn(Progress<'_, B>) -> ControlFlow<Infallible>>,
        )
    }

    /// The same with a callback at each phase and after each step, which may stop the work.
    ///
    /// The device is waited for after each step, so that the callback sees real progress.
    ///
    /// # Errors
    /// As [`generate`](Self::generate), and [`OvisImageError::Cancelled`] after
    /// [`ControlFlow::Break`].
    pub fn generate_with<F>(
        &self,
        request: &GenerationRequest,
        on_progress: F,
    ) -> Result<GenerationOutput<B>>
    where
        F: FnMut(Progress<'_, B>) -> ControlFlow<()>,
    {
        self.run(request, Some(on_progress))
    }

    /// Pixels from denoised latents: `[images, 3, height, width]`, f32 in 0..1; in tiles where those
    /// are given.
    ///
    /// # Shapes
    /// - `latents`: `[images, latent channels, height, width]`, as the transformer speaks them
    ///
    /// # Errors
    /// [`OvisImageError::ShapeMismatch`] for the wrong number of channels,
    /// [`OvisImageError::InvalidArgument`] for tiles that the VAE cannot have,
    /// [`OvisImageError::NonFinite`] when the decoder's output is not finite.
    pub fn decode_latents(
        &self,
        latents: Tensor<B, 4>,
        tiling: Option<VaeTiling>,
    ) -> Result<Tensor<B, 4>> {
        self.requirements.check_tiling(tiling)?;
        let [images, channels, height, width] = latents.dims();
        let expected = self.requirements.vae.latent_channels;
        if channels != expected || images == 0 || height == 0 || width == 0 {
            return Err(OvisImageError::ShapeMismatch {
                argument: "latents",
                meaning: "images, latent channels, height, width",
                expected: vec![images.max(1), expected, height.max(1), width.max(1)],
                actual: vec![images, channels, height, width],
            });
        }
        // One at a time: the decoder's activations are the largest of all. Looked at before the
        // clamp, which would hide infinity, and on some GPUs NaN.
        let decoded = (0..images)
            .map(|image| {
                let latents = latents.clone().narrow(0, image, 1);
                let latents = latents.cast(self.vae_dtype.to_burn());
                let pixels = match tiling {
                    Some(tiling) => self.vae.decode_tiled(latents, tiling),
                    None => self.vae.decode(latents).cast(DType::F32),
                };
                self.check_finite(pixels.clone(), Phase::Vae)?;
                Ok((pixels / 2.0 + 0.5).clamp(0.0, 1.0))
            })
            .collect::<Result<_>>()?;
        Ok(Tensor::cat(decoded, 0))
    }

    /// The latents of a picture, as the transformer speaks them: the mean of the VAE's
    /// distribution, scaled, `[1, latent channels, height / 8, width / 8]`, f32.
    ///
    /// # Errors
    /// [`OvisImageError::InvalidSize`] when a side is not a multiple of
    /// [`size_multiple`](Self::size_multiple), or [`OvisImageError::TooLargeForMemory`].
    pub fn encode_image(&self, image: &RgbImage) -> Result<Tensor<B, 4>> {
        let (width, height) = (image.width() as usize, image.height() as usize);
        self.requirements.check_size(width, height, 1, None)?;
        let pixels = from_rgb::<B>(image, &self.device).cast(self.vae_dtype.to_burn());
        let distribution = self.vae.encode(pixels);
        let latents = self.vae.scale(distribution.mean).cast(DType::F32);
        self.check_finite(latents.clone(), Phase::Vae)?;
        Ok(latents)
    }

    /// The sampling loop of a request as an iterator over its steps, from the prompts' embeddings
    /// (see [`encode_prompts`](Self::encode_prompts)) and the initial noise.
    ///
    /// # Errors
    /// As [`generate`](Self::generate) for the request's arguments.
    pub fn denoiser(&self, request: &GenerationRequest) -> Result<Denoiser<'_, B>> {
        let plan = self.requirements.plan(request)?;
        let (prompts, negative) = self.encode(request, &plan)?;
        let latents = self.initial_latents(request, &plan)?;
        Ok(self.denoiser_from(request, &plan, &prompts, negative.as_ref(), latents))
    }

    fn run<Break, F>(
        &self,
        request: &GenerationRequest,
        mut on_progress: Option<F>,
    ) -> Result<GenerationOutput<B>>
    where
        F: FnMut(Progress<'_, B>) -> ControlFlow<Break>,
    {
        let start = Instant::now();
        let plan = self.requirements.plan(request)?;
        let total_steps = plan.sigmas.len() - 1;
        let mut report = |progress: Progress<'_, B>, completed_steps: usize| match &mut on_progress
        {
            None => Ok(()),
            Some(callback) => match callback(progress) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(_) => Err(OvisImageError::Cancelled {
                    completed_steps,
                    total_steps,
                }),
            },
        };

        let prompts = plan.prompts * (1 + usize::from(plan.guided));
        report(
            Progress::EncodingPrompts {
                prompts,
                total_steps,
            },
            0,
        )?;
        let (encoded_prompts, encoded_negative_prompts) = self.encode(request, &plan)?;
        let text_encoding = start.elapsed();

        let denoising_start = Instant::now();
        let initial_latents = self.initial_latents(request, &plan)?;
        let mut denoiser = self.denoiser_from(
            request,
            &plan,
            &encoded_prompts,
            encoded_negative_prompts.as_ref(),
            initial_latents.clone(),
        );
        for step in denoiser.by_ref() {
            self.finish_step(&mut report, &step)?;
        }
        let latents = denoiser.latents();
        self.check_finite(latents.clone(), Phase::Denoising)?;
        let denoising = denoising_start.elapsed();

        let decoding_start = Instant::now();
        report(
            Progress::DecodingLatents {
                images: plan.images,
            },
            total_steps,
        )?;
        let image_tensor = self.decode_latents(latents.clone(), request.vae_tiling)?;
        let pixels = self.download(image_tensor.clone(), Phase::Vae)?;
        let images = self.pictures(request, &plan, &pixels);
        let vae_decoding = decoding_start.elapsed();

        Ok(GenerationOutput {
            images,
            image_tensor,
            initial_latents,
            latents,
            settings: self.settings(request, plan, &encoded_prompts),
            encoded_prompts,
            encoded_negative_prompts,
            timings: Timings {
                text_encoding,
                denoising,
                vae_decoding,
                total: start.elapsed(),
            },
        })
    }
}

impl<B: OvisOps> OvisImagePipeline<B> {
    /// Waits for a step when somebody watches, and reports it.
    fn finish_step(
        &self,
        report: &mut impl FnMut(Progress<'_, B>, usize) -> Result<()>,
        step: &super::DenoisingStep<B>,
    ) -> Result<()> {
        self.sync(Phase::Denoising)?;
        report(Progress::Denoising(step), step.completed)
    }

    /// Both sides of the prompts; the negative one only with guidance.
    fn encode(
        &self,
        request: &GenerationRequest,
        plan: &Plan,
    ) -> Result<(EncodedPrompts<B>, Option<EncodedPrompts<B>>)> {
        // Given embeddings are checked before a prompt is encoded.
        let given = |argument, embeds: &Option<TensorData>| {
            embeds
                .as_ref()
                .map(|embeds| self.given_embeds(argument, embeds, plan.prompts))
                .transpose()
        };
        let given_prompts = given("prompt_embeds", &request.prompt_embeds)?;
        let given_negative = match plan.guided {
            true => given("negative_prompt_embeds", &request.negative_prompt_embeds)?,
            false => None,
        };
        let prompts = match given_prompts {
            Some(prompts) => prompts,
            None => self.encode_prompts(&request.prompts)?,
        };
        let negative = match (plan.guided, given_negative) {
            (false, _) => None,
            (true, Some(negative)) => Some(negative),
            (true, None) => Some(self.encode_prompts(&request.negative_prompts)?),
        };
        Ok((prompts, negative))
    }

    /// The noise that the loop starts from, f32, rounded as torch rounds it to the model's dtype.
    fn initial_latents(&self, request: &GenerationRequest, plan: &Plan) -> Result<Tensor<B, 4>> {
        if let Some(latents) = &request.latents {
            let latents = self.given_tensor("latents", LATENT_AXES, latents, plan.latents_shape)?;
            return Ok(latents.cast(self.dtype.to_burn()).cast(DType::F32));
        }
        let per_image: usize = plan.latents_shape[1..].iter().product();
        let mut noise = match &request.seeds {
            Seeds::Shared(seed) => NoiseGenerator::from_seed(*seed).randn(plan.images * per_image),
            Seeds::PerImage(seeds) => seeds
                .iter()
                .flat_map(|seed| NoiseGenerator::from_seed(*seed).randn(per_image))
                .collect(),
        };
        for value in &mut noise {
            *value = round_to_dtype(*value, self.dtype.to_burn());
        }
        Ok(Tensor::from_data(
            TensorData::new(noise, plan.latents_shape),
            (&self.device, DType::F32),
        ))
    }

    fn denoiser_from(
        &self,
        request: &GenerationRequest,
        plan: &Plan,
        prompts: &EncodedPrompts<B>,
        negative: Option<&EncodedPrompts<B>>,
        latents: Tensor<B, 4>,
    ) -> Denoiser<'_, B> {
        let dtype = self.dtype.to_burn();
        // One row per image: [prompt 0, prompt 0, .., prompt 1, ..]; one negative serves all.
        let per_image = |embeds: &Tensor<B, 3>| {
            let [rows, tokens, context] = embeds.dims();
            embeds
                .clone()
                .unsqueeze_dim::<4>(1)
                .repeat_dim(1, plan.images / rows)
                .reshape([plan.images, tokens, context])
                .cast(dtype)
        };
        Denoiser {
            transformer: &self.transformer,
            scheduler: &self.scheduler,
            sigmas: plan.sigmas.clone(),
            guidance_scale: request.guidance_scale,
            prompt_embeds: per_image(&prompts.embeds),
            negative_prompt_embeds: negative.map(|negative| per_image(&negative.embeds)),
            rope: self
                .transformer
                .rope(MAX_PROMPT_TOKENS, plan.grid, &self.device),
            grid: plan.grid,
            latents: pack_latents(latents),
            dtype,
            completed: 0,
            modulation: None,
            modulation_is_absent: self.modulation_is_absent,
        }
    }

    fn pictures(
        &self,
        request: &GenerationRequest,
        plan: &Plan,
        pixels: &[f32],
    ) -> Vec<GeneratedImage> {
        pixels
            .chunks_exact(3 * request.width * request.height)
            .enumerate()
            .map(|(index, planes)| GeneratedImage {
                image: to_rgb(planes, request.width, request.height),
                seed: request
                    .latents
                    .is_none()
                    .then(|| request.seeds.of_image(index)),
                prompt_index: index / (plan.images / plan.prompts),
            })
            .collect()
    }

    fn settings(
        &self,
        request: &GenerationRequest,
        plan: Plan,
        prompts: &EncodedPrompts<B>,
    ) -> GenerationSettings {
        let seeds = match request.latents {
            Some(_) => Vec::new(),
            None => (0..plan.images)
                .map(|image| request.seeds.of_image(image))
                .collect(),
        };
        let negative_used = plan.guided && request.negative_prompt_embeds.is_none();
        GenerationSettings {
            prompts: request.prompts.clone(),
            negative_prompts: if negative_used {
                request.negative_prompts.clone()
            } else {
                Vec::new()
            },
            prompt_reports: prompts.reports(),
            width: request.width,
            height: request.height,
            num_inference_steps: plan.sigmas.len() - 1,
            guidance_scale: request.guidance_scale,
            images_per_prompt: request.images_per_prompt,
            seeds,
            schedule: request
                .schedule
                .resolve(self.scheduler.config())
                .to_string(),
            sigmas: plan.sigmas,
            dtype: self.dtype,
            vae_dtype: self.vae_dtype,
            loras: self.loras.clone(),
            vae_tiling: request.vae_tiling,
            backend: B::name(&self.device),
        }
    }
}
