use std::convert::Infallible;
use std::ops::ControlFlow;
use std::time::Instant;

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};
use image::RgbImage;

use super::check::{CheckedRequest, LATENT_AXES};
use super::denoise::{Denoiser, FreshNoise, KeptPart};
use super::encode::EncodedPrompts;
use super::guided_model::{BranchCaches, GuidedModel};
use super::output::{GeneratedImage, GenerationOutput, GenerationSettings, Timings};
use super::pretrained::OvisImagePipeline;
use super::profile::Profiler;
use super::progress::Progress;
use crate::error::{Phase, RequestError, Result, RuntimeError};
use crate::images::download;
use crate::images::{SourceImage, mask_of_latents, restore_kept_pixels};
use crate::images::{from_rgb, to_rgb};
use crate::ops::{pack_latents, round_to_dtype};
use crate::request::{GenerationRequest, Seeds};
use crate::sampling::{FlowMatchEulerScheduler, NoiseGenerator};
use crate::text_encoder::MAX_PROMPT_TOKENS;
use crate::transformer::SkippedBlocks;
use crate::vae::VaeTiling;

/// What a run begins with.
struct StartLatents<B: Backend> {
    /// `[images, channels, height, width]`, f32.
    noise: Tensor<B, 4>,
    /// The noise, or a picture's latents with as much of it as the first sigma says.
    latents: Tensor<B, 4>,
    fresh_noise: FreshNoise,
    kept: Option<KeptPart<B>>,
}

/// Beyond these the model was not trained (arXiv 2511.22982), and text garbles.
const ASPECT_RATIOS: std::ops::RangeInclusive<f64> = 0.25..=4.0;
const MOST_PIXELS: usize = 1_500_000;

fn warn_of_untrained_sizes(width: usize, height: usize) {
    let aspect_ratio = width as f64 / height as f64;
    if !ASPECT_RATIOS.contains(&aspect_ratio) {
        tracing::warn!(
            aspect_ratio,
            "the model was trained on sides of 1 to 4 at most"
        );
    }
    if width * height > MOST_PIXELS {
        tracing::warn!(
            width,
            height,
            "this is more than the 1.5 megapixels up to which text comes out well"
        );
    }
}

impl<B: Backend> OvisImagePipeline<B> {
    /// Generates the images of a request.
    ///
    /// # Errors
    /// Every argument is checked before any work; see the variants of [`OvisImageError`]. After
    /// that, [`CheckpointError::FileChanged`](crate::error::CheckpointError::FileChanged) names a
    /// file that was shortened or overwritten although its weights are still read, and
    /// [`RuntimeError::NonFinite`] a phase that produced NaN or infinity.
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
    /// As [`generate`](Self::generate), and [`RuntimeError::Canceled`] after
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
    /// [`RequestError::ShapeMismatch`] for the wrong number of channels,
    /// [`RequestError::InvalidArgument`] for tiles that the VAE cannot have,
    /// [`RuntimeError::NonFinite`] when the decoder's output is not finite.
    pub fn decode_latents(
        &self,
        latents: Tensor<B, 4>,
        tiling: Option<VaeTiling>,
    ) -> Result<Tensor<B, 4>> {
        self.requirements.check_tiling(tiling)?;
        self.files.check_vae()?;
        let [images, channels, height, width] = latents.dims();
        let expected = self.requirements.vae.latent_channels;
        if channels != expected || images == 0 || height == 0 || width == 0 {
            return Err(RequestError::ShapeMismatch {
                argument: "latents",
                meaning: "images, latent channels, height, width",
                expected: vec![images.max(1), expected, height.max(1), width.max(1)],
                actual: vec![images, channels, height, width],
            }
            .into());
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
    /// [`RequestError::InvalidSize`] when a side is not a multiple of
    /// [`size_multiple`](Self::size_multiple), or
    /// [`MemoryError::TooLargeForMemory`](crate::error::MemoryError::TooLargeForMemory).
    pub fn encode_image(&self, image: &RgbImage) -> Result<Tensor<B, 4>> {
        let (width, height) = (image.width() as usize, image.height() as usize);
        self.requirements.check_size(width, height, 1, None)?;
        self.files.check_vae()?;
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
        let checked = self.requirements.check(request)?;
        self.files.check()?;
        let (prompts, negative) = self.encode(request, &checked)?;
        let start = self.start(request, &checked)?;
        Ok(self.denoiser_from(request, &checked, &prompts, negative.as_ref(), start))
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
        let checked = self.requirements.check(request)?;
        self.files.check()?;
        let (width, height) = (request.width, request.height);
        let _span =
            tracing::info_span!("generate", width, height, images = checked.images).entered();
        warn_of_untrained_sizes(width, height);
        let total_steps = checked.sigmas.len() - 1;
        let mut report = |progress: Progress<'_, B>, completed_steps: usize| match &mut on_progress
        {
            None => Ok(()),
            Some(callback) => match callback(progress) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(_) => Err(RuntimeError::Canceled {
                    completed_steps,
                    total_steps,
                }
                .into()),
            },
        };

        let prompts = checked.prompts * (1 + usize::from(checked.guided));
        report(
            Progress::EncodingPrompts {
                prompts,
                total_steps,
            },
            0,
        )?;
        let (encoded_prompts, encoded_negative_prompts) =
            tracing::info_span!("text_encoding").in_scope(|| self.encode(request, &checked))?;
        let text_encoding = start.elapsed();

        let start_latents =
            tracing::info_span!("image_encoding").in_scope(|| self.start(request, &checked))?;
        let initial_latents = start_latents.noise.clone();
        let image_encoding = start.elapsed() - text_encoding;

        let denoising_start = Instant::now();
        let mut denoiser = self.denoiser_from(
            request,
            &checked,
            &encoded_prompts,
            encoded_negative_prompts.as_ref(),
            start_latents,
        );
        tracing::info_span!("denoising", steps = total_steps).in_scope(|| {
            let steps = denoiser.by_ref();
            steps.try_for_each(|step| self.finish_step(&mut report, &step))
        })?;
        let (profile, step_cache) = (denoiser.profile(), denoiser.step_cache_report());
        let latents = denoiser.latents();
        self.check_finite(latents.clone(), Phase::Denoising)?;
        let denoising = denoising_start.elapsed();

        let decoding_start = Instant::now();
        report(
            Progress::DecodingLatents {
                images: checked.images,
            },
            total_steps,
        )?;
        let image_tensor = tracing::info_span!("vae_decoding")
            .in_scope(|| self.decode_latents(latents.clone(), request.vae_tiling))?;
        let pixels = download(image_tensor.clone(), Phase::Vae)?;
        let images = self.pictures(request, &checked, &pixels);
        let vae_decoding = decoding_start.elapsed();

        Ok(GenerationOutput {
            images,
            image_tensor,
            initial_latents,
            latents,
            settings: self.settings(request, checked, &encoded_prompts),
            encoded_prompts,
            encoded_negative_prompts,
            timings: Timings {
                text_encoding,
                image_encoding,
                denoising,
                vae_decoding,
                total: start.elapsed(),
            },
            profile,
            step_cache,
        })
    }
}

impl<B: Backend> OvisImagePipeline<B> {
    /// Waits for a step when somebody watches, and reports it. The next step reads the files again.
    fn finish_step(
        &self,
        report: &mut impl FnMut(Progress<'_, B>, usize) -> Result<()>,
        step: &super::DenoisingStep<B>,
    ) -> Result<()> {
        self.sync(Phase::Denoising)?;
        self.files.check_transformer()?;
        report(Progress::Denoising(step), step.completed)
    }

    /// Both sides of the prompts; the negative one only with guidance.
    fn encode(
        &self,
        request: &GenerationRequest,
        checked: &CheckedRequest,
    ) -> Result<(EncodedPrompts<B>, Option<EncodedPrompts<B>>)> {
        // Given embeddings are checked before a prompt is encoded.
        let given = |argument, embeds: &Option<TensorData>| {
            embeds
                .as_ref()
                .map(|embeds| self.given_embeds(argument, embeds, checked.prompts))
                .transpose()
        };
        let given_prompts = given("prompt_embeds", &request.prompt_embeds)?;
        let given_negative = match checked.guided {
            true => given("negative_prompt_embeds", &request.negative_prompt_embeds)?,
            false => None,
        };
        let prompts = match given_prompts {
            Some(prompts) => prompts,
            None => self.encode_prompts(&request.prompts)?,
        };
        let negative = match (checked.guided, given_negative) {
            (false, _) => None,
            (true, Some(negative)) => Some(negative),
            (true, None) => Some(self.encode_prompts(&request.negative_prompts)?),
        };
        Ok((prompts, negative))
    }

    /// The noise, and what the loop begins with.
    fn start(
        &self,
        request: &GenerationRequest,
        checked: &CheckedRequest,
    ) -> Result<StartLatents<B>> {
        let (noise, fresh_noise) = self.initial_noise(request, checked)?;
        let Some(source) = &request.source else {
            return Ok(StartLatents {
                latents: noise.clone(),
                noise,
                fresh_noise,
                kept: None,
            });
        };
        let (width, height) = (request.width, request.height);
        let encoded = self.encode_image(&source.fitted(width, height))?;
        let encoded = encoded.repeat_dim(0, checked.images);
        let sigma = checked.sigmas.first().copied().unwrap_or(0.0);
        let scale = self.requirements.vae.scale_factor();
        let mask = source.fitted_mask(width, height).map(|mask| {
            let cells = mask_of_latents(&mask, width, scale);
            let [_, _, rows, columns] = checked.latents_shape;
            let data = TensorData::new(cells, [1, 1, rows, columns]);
            Tensor::<B, 4>::from_data(data, (&self.device, DType::F32))
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

    /// The noise of the images, f32, rounded as torch rounds it to the model's dtype, and the generators
    /// that drew it.
    fn initial_noise(
        &self,
        request: &GenerationRequest,
        checked: &CheckedRequest,
    ) -> Result<(Tensor<B, 4>, FreshNoise)> {
        let mut generators: Vec<NoiseGenerator> = match &request.seeds {
            Seeds::Shared(seed) => vec![NoiseGenerator::from_seed(*seed)],
            Seeds::PerImage(seeds) if seeds.is_empty() => vec![NoiseGenerator::from_seed(0)],
            Seeds::PerImage(seeds) => seeds
                .iter()
                .map(|seed| NoiseGenerator::from_seed(*seed))
                .collect(),
        };
        if let Some(latents) = &request.latents {
            let latents =
                self.given_tensor("latents", LATENT_AXES, latents, checked.latents_shape)?;
            let latents = latents.cast(self.dtype.to_burn()).cast(DType::F32);
            // As many values as images are drawn later, which own noise need not come with seeds for.
            if generators.len() != checked.images {
                generators.truncate(1);
            }
            return Ok((latents, FreshNoise { generators }));
        }
        let count = checked.latents_shape.iter().product::<usize>() / generators.len();
        let mut noise: Vec<f32> = generators
            .iter_mut()
            .flat_map(|generator| generator.randn(count))
            .collect();
        for value in &mut noise {
            *value = round_to_dtype(*value, self.dtype.to_burn());
        }
        let data = TensorData::new(noise, checked.latents_shape);
        let noise = Tensor::from_data(data, (&self.device, DType::F32));
        Ok((noise, FreshNoise { generators }))
    }

    fn denoiser_from(
        &self,
        request: &GenerationRequest,
        checked: &CheckedRequest,
        prompts: &EncodedPrompts<B>,
        negative: Option<&EncodedPrompts<B>>,
        start: StartLatents<B>,
    ) -> Denoiser<'_, B> {
        let dtype = self.dtype.to_burn();
        // One row per image: [prompt 0, prompt 0, .., prompt 1, ..]; one negative serves all.
        let per_image = |embeds: &Tensor<B, 3>| {
            let [rows, tokens, context] = embeds.dims();
            embeds
                .clone()
                .unsqueeze_dim::<4>(1)
                .repeat_dim(1, checked.images / rows)
                .reshape([checked.images, tokens, context])
                .cast(dtype)
        };
        let skip_layers = request.guidance.skip_layers.as_ref();
        Denoiser {
            model: GuidedModel {
                transformer: &self.transformer,
                scheduler: &self.scheduler,
                sigmas: checked.sigmas.clone(),
                guidance: request.guidance.build(),
                prompt_embeds: per_image(&prompts.embeds),
                negative_prompt_embeds: negative.map(|negative| per_image(&negative.embeds)),
                skipped: skip_layers.map_or_else(SkippedBlocks::default, |skip| SkippedBlocks {
                    double_blocks: skip.double_blocks.clone(),
                    single_blocks: skip.single_blocks.clone(),
                }),
                caches: request.step_cache.map(BranchCaches::new),
                rope: self
                    .transformer
                    .rope(MAX_PROMPT_TOKENS, checked.grid, &self.device),
                dtype,
                modulation: None,
                modulation_is_absent: self.modulation_is_absent,
                profiler: request.is_profiled.then(|| Profiler::new(&self.device)),
            },
            sampler: request.sampler.build(),
            noise: start.fresh_noise,
            kept: start.kept,
            grid: checked.grid,
            latents: pack_latents(start.latents),
            completed: 0,
            started: Instant::now(),
        }
    }

    fn pictures(
        &self,
        request: &GenerationRequest,
        checked: &CheckedRequest,
        pixels: &[f32],
    ) -> Vec<GeneratedImage> {
        let (width, height) = (request.width, request.height);
        let source = request.source.as_ref();
        let kept = source.and_then(|source| {
            let mask = source.fitted_mask(width, height)?;
            Some((source.fitted(width, height), mask))
        });
        let picture = |planes: &[f32]| {
            let mut picture = to_rgb(planes, width, height);
            if let Some((source, mask)) = &kept {
                restore_kept_pixels(&mut picture, source, mask);
            }
            picture
        };
        pixels
            .chunks_exact(3 * width * height)
            .enumerate()
            .map(|(index, planes)| GeneratedImage {
                image: picture(planes),
                seed: request
                    .latents
                    .is_none()
                    .then(|| request.seeds.of_image(index)),
                prompt_index: index / (checked.images / checked.prompts),
            })
            .collect()
    }

    fn settings(
        &self,
        request: &GenerationRequest,
        checked: CheckedRequest,
        prompts: &EncodedPrompts<B>,
    ) -> GenerationSettings {
        let seeds = match request.latents {
            Some(_) => Vec::new(),
            None => (0..checked.images)
                .map(|image| request.seeds.of_image(image))
                .collect(),
        };
        let negative_used = checked.guided && request.negative_prompt_embeds.is_none();
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
            num_inference_steps: checked.steps,
            guidance_scale: request.guidance.scale,
            guidance_method: request.guidance.method,
            guidance_interval: request.guidance.interval,
            skip_layers: request.guidance.skip_layers.clone(),
            sampler: request.sampler,
            sigma_spacing: request.sigma_spacing,
            step_cache: request.step_cache,
            source: request.source.as_ref().map(SourceImage::settings),
            images_per_prompt: request.images_per_prompt,
            is_seed_shared: matches!(request.seeds, Seeds::Shared(_)) && !seeds.is_empty(),
            seeds,
            custom_sigmas: request.sigmas.clone(),
            schedule: request
                .schedule
                .resolve(self.scheduler.config())
                .to_string(),
            sigmas: checked.sigmas,
            dtype: self.dtype,
            vae_dtype: self.vae_dtype,
            loras: self.loras.clone(),
            vae_tiling: request.vae_tiling,
            backend: B::name(&self.device),
        }
    }
}
