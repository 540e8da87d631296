//! Generation of a request's images, phase by phase.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::time::Instant;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::check::CheckedRequest;
use super::denoise::Denoiser;
use super::embeddings::RequestEmbeddings;
use super::guided_model::{GuidedInput, GuidedModel, StepCacheReport};
use super::output::{GeneratedImage, GenerationOutput, Timings, timed};
use super::pretrained::OvisImagePipeline;
use super::profile::DenoisingProfile;
use super::progress::Progress;
use super::start::StartLatents;
use crate::error::{Phase, Result, RuntimeError};
use crate::images::{check_finite, download, restore_kept_pixels, to_rgb};
use crate::request::{GenerationParameters, GenerationRequest, GenerationSettings, SecondPassRun};

impl<B: Backend> OvisImagePipeline<B> {
    /// Generates the images of a request.
    ///
    /// # Errors
    /// Checks every argument before any work; see the variants of
    /// [`OvisImageError`](crate::OvisImageError). After that, returns
    /// [`CheckpointError::FileChanged`](crate::error::CheckpointError::FileChanged) if a file whose
    /// weights are still in use was shortened or overwritten, and [`RuntimeError::NonFinite`] if a
    /// phase produced NaN or infinity.
    pub fn generate(&self, request: &GenerationRequest) -> Result<GenerationOutput<B>> {
        let nobody = None::<fn(Progress<'_, B>) -> ControlFlow<Infallible>>;
        self.run(request, nobody)
    }

    /// Like [`generate`](Self::generate), with a callback at each phase and after each step. The
    /// callback may cancel the generation.
    ///
    /// Waits for the device after each step, so that the callback sees real progress.
    ///
    /// # Errors
    /// Returns the errors of [`generate`](Self::generate), and [`RuntimeError::Canceled`] if the
    /// callback returns [`ControlFlow::Break`].
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

    /// Starts the sampling loop of a request, the first pass if there are two, and returns it as an
    /// iterator over its steps.
    ///
    /// The prompts are encoded (see [`encode_prompts`](Self::encode_prompts)) and the initial noise
    /// is drawn before this returns.
    ///
    /// # Errors
    /// Returns the errors of [`generate`](Self::generate) that concern the request's arguments.
    pub fn denoiser(&self, request: &GenerationRequest) -> Result<Denoiser<'_, B>> {
        let checked = self.requirements().check(request)?;
        self.check_files()?;
        let embeddings = self.embeddings(request, &checked)?;
        let start = self.start(request, &checked)?;
        Ok(self.denoiser_from(request, &checked, &embeddings, start))
    }

    fn run<Break, F>(
        &self,
        request: &GenerationRequest,
        on_progress: Option<F>,
    ) -> Result<GenerationOutput<B>>
    where
        F: FnMut(Progress<'_, B>) -> ControlFlow<Break>,
    {
        let start = Instant::now();
        let checked = self.requirements().check(request)?;
        self.check_files()?;
        let (width, height) = request.size();
        let _span =
            tracing::info_span!("generate", width, height, images = checked.images).entered();
        request.warn_of_untrained_sizes();
        request.warn_of_idle_guidance(checked.total_steps());
        let total_steps = checked.steps_of_all_passes();
        let mut watcher = Watcher {
            callback: on_progress,
            completed_steps: 0,
            total_steps,
        };
        let mut timings = Timings::default();

        watcher.report(Progress::EncodingPrompts {
            prompts: checked.prompts * (1 + usize::from(checked.guided)),
            total_steps,
        })?;
        let embeddings = timed(&mut timings.text_encoding, || {
            tracing::info_span!("text_encoding").in_scope(|| self.embeddings(request, &checked))
        })?;
        let start_latents = timed(&mut timings.image_encoding, || {
            tracing::info_span!("image_encoding").in_scope(|| self.start(request, &checked))
        })?;
        let initial_latents = start_latents.noise.clone();

        let pass = self.passes(
            request,
            &checked,
            &embeddings,
            start_latents,
            &mut watcher,
            &mut timings,
        )?;

        watcher.report(Progress::DecodingLatents {
            images: checked.images,
        })?;
        let (image_tensor, images) = timed(&mut timings.vae_decoding, || {
            tracing::info_span!("vae_decoding")
                .in_scope(|| self.decode(checked.last_request(request), &pass.latents))
        })?;

        let settings = self.settings(request, checked, &embeddings);
        timings.total = start.elapsed();
        Ok(GenerationOutput {
            images,
            image_tensor,
            initial_latents,
            latents: pass.latents,
            settings,
            encoded_prompts: embeddings.prompts,
            encoded_negative_prompts: embeddings.negative_prompts,
            timings,
            profile: pass.profile,
            step_cache: pass.step_cache,
        })
    }

    /// Runs the sampling loop, and that of the second pass if there is one.
    fn passes<Break, F>(
        &self,
        request: &GenerationRequest,
        checked: &CheckedRequest,
        embeddings: &RequestEmbeddings<B>,
        start: StartLatents<B>,
        watcher: &mut Watcher<F>,
        timings: &mut Timings,
    ) -> Result<Pass<B>>
    where
        F: FnMut(Progress<'_, B>) -> ControlFlow<Break>,
    {
        let pass = timed(&mut timings.denoising, || -> Result<_> {
            let mut denoiser = self.denoiser_from(request, checked, embeddings, start);
            let latents = tracing::info_span!("denoising", steps = checked.total_steps())
                .in_scope(|| self.denoise(&mut denoiser, watcher))?;
            Ok(Pass {
                latents,
                profile: denoiser.profile(),
                step_cache: denoiser.step_cache_report(),
            })
        })?;
        let Some(second) = &checked.second_pass else {
            return Ok(pass);
        };
        let (width, height) = second.request.size();
        watcher.report(Progress::Upscaling {
            width,
            height,
            steps: second.checked.total_steps(),
        })?;
        let start = self.upscaled_start(request, second, &pass.latents, timings)?;
        let (request, checked) = (&second.request, &second.checked);
        let last = self.passes(request, checked, embeddings, start, watcher, timings)?;
        Ok(last.after(&pass))
    }

    /// Runs all steps. Waits for the device after each one only if there is a progress callback.
    fn denoise<Break, F>(
        &self,
        denoiser: &mut Denoiser<'_, B>,
        watcher: &mut Watcher<F>,
    ) -> Result<Tensor<B, 4>>
    where
        F: FnMut(Progress<'_, B>) -> ControlFlow<Break>,
    {
        for step in denoiser.by_ref() {
            if watcher.is_watching() {
                self.sync(Phase::Denoising)?;
            }
            // The next step reads the files again.
            self.adapted().check_files()?;
            watcher.completed_steps += 1;
            watcher.report(Progress::Denoising(&step))?;
        }
        let latents = denoiser.latents();
        check_finite(&latents, Phase::Denoising)?;
        Ok(latents)
    }

    fn denoiser_from(
        &self,
        request: &GenerationRequest,
        checked: &CheckedRequest,
        embeddings: &RequestEmbeddings<B>,
        start: StartLatents<B>,
    ) -> Denoiser<'_, B> {
        let parameters = request.parameters();
        // One row per image: [prompt 0, prompt 0, .., prompt 1, ..]. A single negative prompt is
        // repeated for all.
        let per_image = |embeds: &Tensor<B, 3>| {
            let [rows, tokens, context] = embeds.dims();
            embeds
                .clone()
                .unsqueeze_dim::<4>(1)
                .repeat_dim(1, checked.images / rows)
                .reshape([checked.images, tokens, context])
                .cast(self.dtype().to_burn())
        };
        let negative = embeddings.negative_prompts.as_ref();
        let input = GuidedInput {
            sigmas: &checked.sigmas,
            prompt_embeds: per_image(&embeddings.prompts.embeds),
            negative_prompt_embeds: negative.map(|negative| per_image(&negative.embeds)),
            grid: checked.grid,
            guidance: &parameters.guidance,
            step_cache: parameters.step_cache,
            is_profiled: request.is_profiled(),
        };
        let model = GuidedModel::new(self.adapted(), self.scheduler(), input, self.device());
        Denoiser::new(model, parameters.sampler.build(), start, checked.grid)
    }

    /// Decodes latents to a tensor and to images, and restores the pixels of a source image that
    /// its mask keeps.
    pub(super) fn decode(
        &self,
        request: &GenerationRequest,
        latents: &Tensor<B, 4>,
    ) -> Result<(Tensor<B, 4>, Vec<GeneratedImage>)> {
        let parameters = request.parameters();
        let image_tensor = self.image_coder().decode(latents, parameters.vae_tiling)?;
        let values = download(image_tensor.clone(), Phase::Vae)?;
        let (width, height) = request.size();
        let kept = request.source_image().and_then(|source| {
            let mask = source.fitted_mask(width, height)?;
            Some((source.fitted(width, height), mask))
        });
        let seeds = request.latents().is_none().then_some(parameters);
        let image = |(index, planes): (usize, &[f32])| {
            let mut image = to_rgb(planes, width, height);
            if let Some((source, mask)) = &kept {
                restore_kept_pixels(&mut image, source, mask);
            }
            GeneratedImage {
                image,
                seed: seeds.and_then(|parameters| parameters.seed_of_image(index)),
                prompt_index: index / parameters.images_per_prompt.max(1),
            }
        };
        let planes = values.chunks_exact(3 * width * height).enumerate();
        Ok((image_tensor, planes.map(image).collect()))
    }

    /// Settings that the generation used.
    fn settings(
        &self,
        request: &GenerationRequest,
        checked: CheckedRequest,
        embeddings: &RequestEmbeddings<B>,
    ) -> GenerationSettings {
        let parameters = request.parameters();
        let generators = request.generator_seeds();
        let is_noise_drawn = request.latents().is_none() || parameters.sampler.adds_noise();
        let seeds: Vec<u64> = if is_noise_drawn {
            let seed_of = |image| generators.get(image).or(generators.first()).copied();
            (0..checked.images).filter_map(seed_of).collect()
        } else {
            Vec::new()
        };
        let is_shared = parameters.is_seed_shared || generators.len() < checked.images;
        let negative_prompts = if checked.guided && request.negative_prompt_embeds().is_none() {
            parameters.negative_prompts.clone()
        } else {
            Vec::new()
        };
        GenerationSettings {
            parameters: GenerationParameters {
                negative_prompts,
                num_inference_steps: checked.steps,
                is_seed_shared: is_shared && !seeds.is_empty(),
                seeds,
                schedule: parameters.schedule.resolve(self.scheduler().config()),
                ..parameters.clone()
            },
            prompt_reports: embeddings.prompts.reports(),
            source: request.source_image().map(|source| source.settings()),
            second_pass_run: checked
                .second_pass
                .map(|second| SecondPassRun::new(second.request.size(), second.checked.sigmas)),
            sigmas: checked.sigmas,
            dtype: self.dtype(),
            vae_dtype: self.vae_dtype(),
            loras: self.loras().to_vec(),
            backend: B::name(self.device()),
        }
    }
}

/// Result of one pass of the sampling loop.
struct Pass<B: Backend> {
    /// Denoised latents, `[images, channels, height, width]`, f32.
    latents: Tensor<B, 4>,
    profile: Option<DenoisingProfile>,
    step_cache: Option<StepCacheReport>,
}

impl<B: Backend> Pass<B> {
    /// Adds the reports of the pass before this one.
    fn after(mut self, first: &Self) -> Self {
        if let (Some(profile), Some(first)) = (&mut self.profile, &first.profile) {
            profile.add(first);
        }
        if let (Some(report), Some(first)) = (&mut self.step_cache, &first.step_cache) {
            report.computed += first.computed;
            report.skipped += first.skipped;
        }
        self
    }
}

/// Optional progress callback, with the step counts that a cancellation reports.
struct Watcher<F> {
    callback: Option<F>,
    completed_steps: usize,
    total_steps: usize,
}

impl<F> Watcher<F> {
    fn is_watching(&self) -> bool {
        self.callback.is_some()
    }

    fn report<'a, B: Backend, Break>(&mut self, progress: Progress<'a, B>) -> Result<()>
    where
        F: FnMut(Progress<'a, B>) -> ControlFlow<Break>,
    {
        match self.callback.as_mut().map(|callback| callback(progress)) {
            Some(ControlFlow::Break(_)) => Err(RuntimeError::Canceled {
                completed_steps: self.completed_steps,
                total_steps: self.total_steps,
            }
            .into()),
            Some(ControlFlow::Continue(())) | None => Ok(()),
        }
    }
}
