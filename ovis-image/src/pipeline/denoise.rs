use std::time::{Duration, Instant};

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;
use image::RgbImage;

use super::guided_model::{GuidedModel, StepCacheReport};
use super::profile::DenoisingProfile;
use super::start::{FreshNoise, KeptPart, StartLatents};
use crate::error::Result;
use crate::images::PreviewDecoder;
use crate::kernels::{pack_latents, unpack_latents};
use crate::sampling::sampler::{Sampler, SamplerStep};
use crate::sampling::{FlowMatchEulerScheduler, Guidance};
use crate::step_cache::StepCache;

/// Sampling loop as an iterator: each call of `next` runs one step, which leaves progress, previews
/// and cancellation to the caller.
#[derive(Debug)]
pub struct Denoiser<'a, B: Backend> {
    model: GuidedModel<'a, B>,
    sampler: Box<dyn Sampler<B>>,
    noise: FreshNoise,
    /// Part of the source image to keep, if only a part is repainted.
    kept: Option<KeptPart<B>>,
    /// Number of patch rows and columns.
    grid: [usize; 2],
    /// Packed latents, `[images, tokens, channels]`. Always f32, because the steps are small
    /// compared with the precision of bf16.
    latents: Tensor<B, 3>,
    completed: usize,
    started: Instant,
}

/// Result of one finished denoising step.
#[derive(Debug, Clone)]
pub struct DenoisingStep<B: Backend> {
    /// Number of steps of the pass that have finished, including this one.
    pub completed: usize,
    /// Total number of steps of the pass.
    pub total: usize,
    /// Sigma at which the step began.
    pub sigma: f32,
    /// Sigma at which the step ended.
    pub sigma_next: f32,
    /// Time since the pass began.
    pub elapsed: Duration,
    before: Tensor<B, 3>,
    after: Tensor<B, 3>,
    velocity: Tensor<B, 3>,
    grid: [usize; 2],
}

impl<'a, B: Backend> Denoiser<'a, B> {
    pub(super) fn new(
        model: GuidedModel<'a, B>,
        sampler: Box<dyn Sampler<B>>,
        start: StartLatents<B>,
        grid: [usize; 2],
    ) -> Self {
        Self {
            model,
            sampler,
            noise: start.fresh_noise,
            kept: start.kept,
            grid,
            latents: pack_latents(start.latents),
            completed: 0,
            started: Instant::now(),
        }
    }

    /// Total number of steps.
    pub fn total_steps(&self) -> usize {
        self.model.sigmas().len().saturating_sub(1)
    }

    /// Current latents, `[images, channels, height, width]`, f32.
    pub fn latents(&self) -> Tensor<B, 4> {
        unpack_latents(self.latents.clone(), self.grid)
    }

    /// Replaces the request's sampler with a custom one. Call it before the first step.
    pub fn with_sampler(mut self, sampler: impl Sampler<B> + 'static) -> Self {
        self.sampler = Box::new(sampler);
        self
    }

    /// Replaces the request's guidance with a custom one. Call it before the first step.
    ///
    /// The negative prompt's prediction is available when the request's guidance scale is above 1.
    pub fn with_guidance(mut self, guidance: impl Guidance<B> + 'static) -> Self {
        self.model.set_guidance(Box::new(guidance));
        self
    }

    /// Replaces the request's step cache, if any, with a custom one. Call it before the first step.
    ///
    /// `new` makes a cache for each branch of guidance, because each needs its own state. Memory
    /// estimates do not include these caches.
    ///
    /// ```no_run
    /// use burn::tensor::backend::Backend;
    /// use ovis_image::sampling::StepPosition;
    /// use ovis_image::step_cache::{CachedPrediction, StepCache};
    /// use ovis_image::transformer::StagedForward;
    /// use ovis_image::{GenerationRequest, OvisImagePipeline};
    ///
    /// /// Leaves out every second prediction.
    /// #[derive(Debug)]
    /// struct EverySecond<B: Backend>(Option<burn::Tensor<B, 3>>);
    ///
    /// impl<B: Backend> StepCache<B> for EverySecond<B> {
    ///     fn predict(
    ///         &mut self,
    ///         forward: StagedForward<'_, B>,
    ///         _step: StepPosition,
    ///     ) -> CachedPrediction<B> {
    ///         if let Some(last) = self.0.take() {
    ///             return CachedPrediction::reused(last);
    ///         }
    ///         let prediction = forward.run();
    ///         self.0 = Some(prediction.clone());
    ///         CachedPrediction::computed(prediction)
    ///     }
    /// }
    ///
    /// # fn run<B: Backend>(pipeline: OvisImagePipeline<B>) -> ovis_image::Result<()> {
    /// let request = GenerationRequest::new("a cat");
    /// let denoiser = pipeline.denoiser(&request)?;
    /// for step in denoiser.with_step_cache(|| EverySecond(None)) {
    ///     println!("{} of {}", step.completed, step.total);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_step_cache<C: StepCache<B> + 'static>(mut self, new: impl Fn() -> C) -> Self {
        self.model.set_step_cache(|| Box::new(new()));
        self
    }

    /// Report of the step cache so far; `None` without a step cache.
    pub fn step_cache_report(&self) -> Option<StepCacheReport> {
        self.model.step_cache_report()
    }

    /// Time spent so far, by part; `None` unless the request enables profiling.
    pub fn profile(&self) -> Option<DenoisingProfile> {
        self.model.profile()
    }
}

impl<B: Backend> Iterator for Denoiser<'_, B> {
    type Item = DenoisingStep<B>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.completed;
        let total = self.total_steps();
        let sigmas = self.model.sigmas().to_vec();
        let (sigma, sigma_next) = (*sigmas.get(index)?, *sigmas.get(index + 1)?);
        let _span = tracing::debug_span!("denoising_step", step = index + 1, total).entered();
        let Self {
            model,
            sampler,
            noise,
            ..
        } = self;
        model.start_step();
        let before = self.latents.clone();
        let velocity = model.velocity(&before, sigma, index);
        let mut step = SamplerStep {
            index,
            sigmas: &sigmas,
            velocity: velocity.clone(),
            model: &mut |latents, sigma| model.velocity(&latents, sigma, index),
            noise: &mut || noise.draw(&before),
        };
        let mut after = sampler.step(&mut step, before.clone());
        if let Some(kept) = &self.kept {
            after = kept.restore(after, sigma_next);
        }
        self.model.finish_step();
        self.latents = after.clone();
        self.completed += 1;
        Some(DenoisingStep {
            completed: self.completed,
            total,
            sigma,
            sigma_next,
            elapsed: self.started.elapsed(),
            before,
            after,
            velocity,
            grid: self.grid,
        })
    }
}

impl<B: Backend> DenoisingStep<B> {
    /// Latents after the step, `[images, channels, height, width]`, f32.
    pub fn latents(&self) -> Tensor<B, 4> {
        unpack_latents(self.after.clone(), self.grid)
    }

    /// Clean latents implied by the step's prediction, with the shape of
    /// [`latents`](Self::latents).
    ///
    /// Previews should decode these. They are computed on each call.
    pub fn predicted_clean_latents(&self) -> Tensor<B, 4> {
        let clean = FlowMatchEulerScheduler::predicted_clean(
            self.before.clone(),
            self.velocity.clone(),
            self.sigma,
        );
        unpack_latents(clean, self.grid)
    }

    /// Guided prediction `noise - clean`, with the shape of [`latents`](Self::latents).
    pub fn velocity(&self) -> Tensor<B, 4> {
        unpack_latents(self.velocity.clone(), self.grid)
    }

    /// Estimated time for the remaining steps of the pass, from the mean time of the finished ones.
    pub fn remaining(&self) -> Duration {
        let left = self.total.saturating_sub(self.completed);
        self.elapsed
            .mul_f64(left as f64 / self.completed.max(1) as f64)
    }

    /// Decodes previews of the images implied by this step's prediction, with one pixel per latent.
    ///
    /// # Errors
    /// Returns the errors of [`PreviewDecoder::images`].
    pub fn preview(&self, decoder: &PreviewDecoder) -> Result<Vec<RgbImage>> {
        decoder.images(self.predicted_clean_latents())
    }
}
