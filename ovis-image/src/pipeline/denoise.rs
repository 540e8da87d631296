use std::time::{Duration, Instant};

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::guided_model::{BranchCaches, GuidedModel, StepCacheReport};
use super::profile::{DenoisingProfile, Part};
use crate::ops::unpack_latents;
use crate::sampling::sampler::{Sampler, SamplerStep};
use crate::sampling::{FlowMatchEulerScheduler, NoiseGenerator};

/// The sampling loop as an iterator: each call of `next` is one step, so that the caller owns
/// progress, previews and cancellation.
#[derive(Debug)]
pub struct Denoiser<'a, B: Backend> {
    pub(super) model: GuidedModel<'a, B>,
    pub(super) sampler: Box<dyn Sampler<B>>,
    pub(super) noise: FreshNoise,
    /// What stays as it is, where only a part is repainted.
    pub(super) kept: Option<KeptPart<B>>,
    /// Patch rows and columns.
    pub(super) grid: [usize; 2],
    /// Packed, `[images, tokens, channels]`, always f32: the steps are small against bf16's.
    pub(super) latents: Tensor<B, 3>,
    pub(super) completed: usize,
    pub(super) started: Instant,
}

/// The generators of the images' noise, which samplers that add some go on drawing from.
#[derive(Debug, Clone)]
pub(super) struct FreshNoise {
    /// One for all images, or one each.
    pub(super) generators: Vec<NoiseGenerator>,
}

/// The part of a picture that is not repainted, packed `[images, tokens, channels]`, f32.
#[derive(Debug, Clone)]
pub(super) struct KeptPart<B: Backend> {
    /// The picture's latents.
    pub(super) source: Tensor<B, 3>,
    /// The noise that the loop began with.
    pub(super) noise: Tensor<B, 3>,
    /// 1 where it is repainted, 0 where it is kept.
    pub(super) mask: Tensor<B, 3>,
}

/// A finished step.
#[derive(Debug, Clone)]
pub struct DenoisingStep<B: Backend> {
    /// Steps finished, this one included.
    pub completed: usize,
    /// Steps in all.
    pub total: usize,
    /// The sigma that the step began at.
    pub sigma: f32,
    /// The sigma that it ended at.
    pub sigma_next: f32,
    /// Since the loop began.
    pub elapsed: Duration,
    before: Tensor<B, 3>,
    after: Tensor<B, 3>,
    velocity: Tensor<B, 3>,
    grid: [usize; 2],
}

impl<B: Backend> Denoiser<'_, B> {
    /// Steps in all.
    pub fn total_steps(&self) -> usize {
        self.model.sigmas.len().saturating_sub(1)
    }

    /// The latents as they are now, `[images, channels, height, width]`, f32.
    pub fn latents(&self) -> Tensor<B, 4> {
        unpack_latents(self.latents.clone(), self.grid)
    }

    /// A sampler of one's own in place of the request's; for before the first step.
    pub fn with_sampler(mut self, sampler: impl Sampler<B> + 'static) -> Self {
        self.sampler = Box::new(sampler);
        self
    }

    /// Guidance of one's own in place of the request's; for before the first step. The negative prompt's
    /// prediction can be had when the request's guidance scale is above 1.
    pub fn with_guidance(mut self, guidance: impl crate::sampling::Guidance<B> + 'static) -> Self {
        self.model.guidance = Box::new(guidance);
        self
    }

    /// What the step cache saved so far; `None` without one.
    pub fn step_cache_report(&self) -> Option<StepCacheReport> {
        self.model.caches.as_ref().map(BranchCaches::report)
    }

    /// Where the time went so far; `None` if the request did not ask for it.
    pub fn profile(&self) -> Option<DenoisingProfile> {
        let profiler = self.model.profiler.as_ref();
        profiler.map(super::profile::Profiler::profile)
    }
}

impl FreshNoise {
    /// Packed noise as one `torch.randn` per generator gives it.
    fn draw<B: Backend>(&mut self, like: &Tensor<B, 3>) -> Tensor<B, 3> {
        let [images, tokens, channels] = like.dims();
        let count = images * tokens * channels / self.generators.len().max(1);
        let values: Vec<f32> = self
            .generators
            .iter_mut()
            .flat_map(|generator| generator.randn(count))
            .collect();
        let data = burn::tensor::TensorData::new(values, [images, tokens, channels]);
        Tensor::from_data(data, (&like.device(), burn::tensor::DType::F32))
    }
}

impl<B: Backend> KeptPart<B> {
    /// The latents with the kept part as the picture is at this sigma.
    fn restore(&self, latents: Tensor<B, 3>, sigma: f32) -> Tensor<B, 3> {
        let kept =
            FlowMatchEulerScheduler::add_noise(self.source.clone(), self.noise.clone(), sigma);
        latents * self.mask.clone() + kept * (self.mask.clone().neg() + 1.0)
    }
}

impl<B: Backend> Iterator for Denoiser<'_, B> {
    type Item = DenoisingStep<B>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.completed;
        let total = self.total_steps();
        let sigmas = self.model.sigmas.clone();
        let (sigma, sigma_next) = (*sigmas.get(index)?, *sigmas.get(index + 1)?);
        let _span = tracing::debug_span!("denoising_step", step = index + 1, total).entered();
        let Self {
            model,
            sampler,
            noise,
            ..
        } = self;
        if let Some(profiler) = &model.profiler {
            profiler.restart();
        }
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
        if let Some(profiler) = &self.model.profiler {
            profiler.mark(Part::Sampler);
        }
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
    /// The latents after the step, `[images, channels, height, width]`, f32.
    pub fn latents(&self) -> Tensor<B, 4> {
        unpack_latents(self.after.clone(), self.grid)
    }

    /// The clean latents that the step's prediction implies, same shape: what a preview should
    /// decode. Computed when asked for.
    pub fn predicted_clean_latents(&self) -> Tensor<B, 4> {
        let clean = FlowMatchEulerScheduler::predicted_clean(
            self.before.clone(),
            self.velocity.clone(),
            self.sigma,
        );
        unpack_latents(clean, self.grid)
    }

    /// The guided prediction `noise - clean`, same shape.
    pub fn velocity(&self) -> Tensor<B, 4> {
        unpack_latents(self.velocity.clone(), self.grid)
    }

    /// How long the other steps will take if they take as long as those before.
    pub fn remaining(&self) -> Duration {
        let left = self.total.saturating_sub(self.completed);
        self.elapsed
            .mul_f64(left as f64 / self.completed.max(1) as f64)
    }
}
