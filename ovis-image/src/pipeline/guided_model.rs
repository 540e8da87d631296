//! Transformer with guidance, step caches and precomputed modulation. It predicts from latents and
//! a sigma the velocity that the sampler follows.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use serde::Serialize;

use super::profile::{DenoisingProfile, Part, Profiler};
use crate::config::WeightDtype;
use crate::loaded_models::AdaptedTransformer;
use crate::ops::RotaryTable;
use crate::sampling::guidance::{Guidance, GuidanceSettings, Passes, Predictions};
use crate::sampling::{FlowMatchEulerScheduler, StepPosition};
use crate::step_cache::{StepCache, StepCacheKind};
use crate::transformer::{
    OvisImageTransformer, SkippedBlocks, StagedForward, StepModulation, TransformerInput,
};

#[derive(Debug)]
pub(super) struct GuidedModel<'a, B: Backend> {
    transformer: &'a OvisImageTransformer<B>,
    scheduler: &'a FlowMatchEulerScheduler,
    /// Sigmas of the run, one more than it has steps.
    sigmas: Vec<f32>,
    guidance: Box<dyn Guidance<B>>,
    /// Prompt embeddings, `[images, text tokens, context]`.
    prompt_embeds: Tensor<B, 3>,
    /// Negative prompt embeddings, of the same shape; `None` without guidance.
    negative_prompt_embeds: Option<Tensor<B, 3>>,
    /// Blocks that the perturbed branch skips.
    skipped: SkippedBlocks,
    caches: Option<BranchCaches<B>>,
    rope: RotaryTable<B>,
    dtype: WeightDtype,
    modulation: Option<ModulatedSteps<B>>,
    /// Whether the modulation's weights are read on each use and then freed.
    modulation_is_absent: bool,
    profiler: Option<Profiler<B>>,
}

/// Inputs of a run: sigmas, embeddings, guidance and step cache.
pub(super) struct GuidedInput<'a, B: Backend> {
    /// Sigmas of the run, one more than it has steps.
    pub(super) sigmas: &'a [f32],
    /// Prompt embeddings, `[images, text tokens, context]`, in the transformer's dtype.
    pub(super) prompt_embeds: Tensor<B, 3>,
    /// Negative prompt embeddings, of the same shape; `None` without guidance.
    pub(super) negative_prompt_embeds: Option<Tensor<B, 3>>,
    /// Number of patch rows and columns.
    pub(super) grid: [usize; 2],
    pub(super) guidance: &'a GuidanceSettings,
    pub(super) step_cache: Option<StepCacheKind>,
    pub(super) is_profiled: bool,
}

/// Number of steps whose modulation is computed at once.
///
/// This is enough to read its weights only once for most schedules, and few enough to keep the
/// result small (2 MB per step in f32 for the 7B model).
const MODULATED_STEPS: usize = 64;

/// Modulation of up to [`MODULATED_STEPS`] sigmas.
#[derive(Debug)]
struct ModulatedSteps<B: Backend> {
    first: usize,
    modulation: StepModulation<B>,
}

/// Step caches of the guidance branches, one for each.
#[derive(Debug)]
struct BranchCaches<B: Backend> {
    caches: [Box<dyn StepCache<B>>; 3],
    report: StepCacheReport,
}

/// Numbers of predictions that a step cache computed and skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct StepCacheReport {
    /// Number of predictions that ran all blocks.
    pub computed: usize,
    /// Number of predictions that skipped blocks.
    pub skipped: usize,
}

/// Branch of guidance that a prediction belongs to.
#[derive(Debug, Clone, Copy)]
enum Branch {
    Conditional,
    Unconditional,
    Perturbed,
}

impl<B: Backend> BranchCaches<B> {
    /// Creates one cache per branch by calling `new` for each.
    fn new(mut new: impl FnMut() -> Box<dyn StepCache<B>>) -> Self {
        Self {
            caches: [new(), new(), new()],
            report: StepCacheReport::default(),
        }
    }
}

impl<'a, B: Backend> GuidedModel<'a, B> {
    pub(super) fn new(
        transformer: &'a AdaptedTransformer<B>,
        scheduler: &'a FlowMatchEulerScheduler,
        input: GuidedInput<'_, B>,
        device: &B::Device,
    ) -> Self {
        let [_, text_tokens, _] = input.prompt_embeds.dims();
        let skip_layers = input.guidance.skip_layers.as_ref();
        let model = transformer.model();
        Self {
            transformer: model,
            scheduler,
            sigmas: input.sigmas.to_vec(),
            guidance: input.guidance.build(),
            prompt_embeds: input.prompt_embeds,
            negative_prompt_embeds: input.negative_prompt_embeds,
            skipped: skip_layers.map_or_else(SkippedBlocks::default, |skip| SkippedBlocks {
                double_blocks: skip.double_blocks.clone(),
                single_blocks: skip.single_blocks.clone(),
            }),
            caches: input
                .step_cache
                .map(|kind| BranchCaches::new(|| kind.build())),
            rope: model.rope(text_tokens, input.grid, device),
            dtype: transformer.dtype(),
            modulation: None,
            modulation_is_absent: transformer.modulation_is_absent(),
            profiler: input.is_profiled.then(|| Profiler::new(device)),
        }
    }

    pub(super) fn sigmas(&self) -> &[f32] {
        &self.sigmas
    }

    pub(super) fn set_guidance(&mut self, guidance: Box<dyn Guidance<B>>) {
        self.guidance = guidance;
    }

    /// Replaces the step caches, calling `new` once for each branch.
    pub(super) fn set_step_cache(&mut self, new: impl FnMut() -> Box<dyn StepCache<B>>) {
        self.caches = Some(BranchCaches::new(new));
    }

    /// Report of the step cache so far; `None` without a step cache.
    pub(super) fn step_cache_report(&self) -> Option<StepCacheReport> {
        self.caches.as_ref().map(|caches| caches.report)
    }

    /// Time spent so far, by part; `None` without profiling.
    pub(super) fn profile(&self) -> Option<DenoisingProfile> {
        self.profiler.as_ref().map(Profiler::profile)
    }

    /// Starts measuring a step, if profiling is enabled.
    pub(super) fn start_step(&self) {
        if let Some(profiler) = &self.profiler {
            profiler.restart();
        }
    }

    /// Ends measuring a step.
    pub(super) fn finish_step(&self) {
        self.mark(Part::Sampler);
    }

    /// Computes the guided prediction for latents at a sigma, in f32. `index` is the current step.
    pub(super) fn velocity(
        &mut self,
        latents: &Tensor<B, 3>,
        sigma: f32,
        index: usize,
    ) -> Tensor<B, 3> {
        let step = StepPosition {
            index,
            total: self.sigmas.len() - 1,
        };
        let passes = self.guidance.passes(step);
        if !passes.conditional {
            return latents.zeros_like();
        }
        let modulation = self.modulation_at(sigma, index);
        self.mark(Part::Modulation);
        let predictions = self.predictions(latents, &modulation, passes, step);
        let velocity = self.guidance.combine(step, predictions);
        self.mark(Part::Guidance);
        velocity
    }

    fn predictions(
        &mut self,
        latents: &Tensor<B, 3>,
        modulation: &StepModulation<B>,
        passes: Passes,
        step: StepPosition,
    ) -> Predictions<B> {
        let negative = self.negative_prompt_embeds.clone();
        let negative = negative.filter(|_| passes.unconditional);
        // Streamed weights are read once for both predictions in one pass. Otherwise two passes
        // take less memory, and each can be cached.
        let at_once = self.transformer.streamed_blocks() > 0 && self.caches.is_none();
        let (conditional, unconditional) = match negative {
            Some(negative) if at_once => {
                let both = self.predict(
                    Tensor::cat(vec![latents.clone(), latents.clone()], 0),
                    Tensor::cat(vec![self.prompt_embeds.clone(), negative], 0),
                    modulation,
                    Branch::Conditional,
                    step,
                );
                let images = both.dims()[0] / 2;
                let half = |from| both.clone().narrow(0, from, images);
                (half(0), Some(half(images)))
            }
            negative => {
                let prompt_embeds = self.prompt_embeds.clone();
                let mut predict = |embeds, branch| {
                    self.predict(latents.clone(), embeds, modulation, branch, step)
                };
                let conditional = predict(prompt_embeds, Branch::Conditional);
                let negative = negative.map(|embeds| predict(embeds, Branch::Unconditional));
                (conditional, negative)
            }
        };
        let perturbed = passes.perturbed.then(|| {
            let embeds = self.prompt_embeds.clone();
            self.predict(latents.clone(), embeds, modulation, Branch::Perturbed, step)
        });
        Predictions {
            conditional,
            unconditional,
            perturbed,
        }
    }

    fn predict(
        &mut self,
        latents: Tensor<B, 3>,
        prompt_embeds: Tensor<B, 3>,
        modulation: &StepModulation<B>,
        branch: Branch,
        step: StepPosition,
    ) -> Tensor<B, 3> {
        let input = TransformerInput {
            latents: latents.cast(self.dtype.to_burn()),
            prompt_embeds,
            rope: &self.rope,
        };
        let observer = self.profiler.as_ref();
        if let Some(profiler) = observer {
            profiler.count_forward();
        }
        let skipped = matches!(branch, Branch::Perturbed).then_some(&self.skipped);
        if self.caches.is_none() && skipped.is_none() && observer.is_none() {
            let prediction = self.transformer.forward_modulated(input, modulation);
            return prediction.cast(DType::F32);
        }
        let forward = StagedForward::new(self.transformer, &input, modulation)
            .skipping(skipped)
            .observed(observer.map(|profiler| profiler as _));
        let prediction = match &mut self.caches {
            None => forward.run(),
            Some(BranchCaches { caches, report }) => {
                let cached = caches[branch as usize].predict(forward, step);
                if cached.is_computed {
                    report.computed += 1;
                } else {
                    report.skipped += 1;
                }
                cached.prediction
            }
        };
        prediction.cast(DType::F32)
    }

    /// Modulation for a sigma. Sigmas of the run are computed many at once; any other, which some
    /// samplers need, is computed alone.
    fn modulation_at(&mut self, sigma: f32, index: usize) -> StepModulation<B> {
        let steps = self.sigmas.len() - 1;
        let mut near = (index..steps).take(2);
        let Some(index) = near.find(|index| self.sigmas[*index] == sigma) else {
            return self.modulation_of(&[sigma]);
        };
        let first = index - index % MODULATED_STEPS;
        let known = self.modulation.take().filter(|known| known.first == first);
        let known = known.unwrap_or_else(|| {
            let end = (first + MODULATED_STEPS).min(steps);
            ModulatedSteps {
                first,
                modulation: self.modulation_of(&self.sigmas[first..end]),
            }
        });
        let current = known.modulation.item(index - first);
        self.modulation = Some(known);
        current
    }

    fn modulation_of(&self, sigmas: &[f32]) -> StepModulation<B> {
        let timesteps: Vec<f32> = sigmas
            .iter()
            .map(|sigma| self.scheduler.model_timestep(*sigma, self.dtype))
            .collect();
        let conditioning = self.transformer.conditioning(&timesteps);
        if self.modulation_is_absent {
            self.transformer.modulation_of_copies(conditioning)
        } else {
            self.transformer.modulation(conditioning)
        }
    }

    fn mark(&self, part: Part) {
        if let Some(profiler) = &self.profiler {
            profiler.mark(part);
        }
    }
}
