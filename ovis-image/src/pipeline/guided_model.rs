//! The transformer with guidance, step caches and the modulation of the run's sigmas: latents and a
//! sigma to the velocity that the sampler follows.

use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};
use serde::Serialize;

use super::adapted_transformer::AdaptedTransformer;
use super::profile::{DenoisingProfile, Part, Profiler};
use crate::config::WeightDtype;
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
    /// Steps + 1 of them.
    sigmas: Vec<f32>,
    guidance: Box<dyn Guidance<B>>,
    /// `[images, text tokens, context]`.
    prompt_embeds: Tensor<B, 3>,
    /// The same of the negative prompts; `None` without guidance.
    negative_prompt_embeds: Option<Tensor<B, 3>>,
    /// What the perturbed branch leaves out.
    skipped: SkippedBlocks,
    caches: Option<BranchCaches<B>>,
    rope: RotaryTable<B>,
    dtype: WeightDtype,
    modulation: Option<ModulatedSteps<B>>,
    /// Whether its weights are read when used, and given back.
    modulation_is_absent: bool,
    profiler: Option<Profiler<B>>,
}

/// What a run is guided by.
pub(super) struct GuidedInput<'a, B: Backend> {
    /// Steps + 1 of them.
    pub(super) sigmas: &'a [f32],
    /// `[images, text tokens, context]`, in the transformer's dtype.
    pub(super) prompt_embeds: Tensor<B, 3>,
    /// The same of the negative prompts; `None` without guidance.
    pub(super) negative_prompt_embeds: Option<Tensor<B, 3>>,
    /// Patch rows and columns.
    pub(super) grid: [usize; 2],
    pub(super) guidance: &'a GuidanceSettings,
    pub(super) step_cache: Option<StepCacheKind>,
    pub(super) is_profiled: bool,
}

/// Steps whose modulation is computed at once: enough to read its weights once for most schedules,
/// few enough that it stays small (at 7B, 2 MB a step in f32).
const MODULATED_STEPS: usize = 64;

/// The modulation of up to [`MODULATED_STEPS`] sigmas.
#[derive(Debug)]
struct ModulatedSteps<B: Backend> {
    first: usize,
    modulation: StepModulation<B>,
}

/// A step cache for each branch of guidance.
#[derive(Debug)]
struct BranchCaches<B: Backend> {
    caches: [Box<dyn StepCache<B>>; 3],
    report: StepCacheReport,
}

/// What a step cache saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct StepCacheReport {
    /// Predictions that ran all blocks.
    pub computed: usize,
    /// Predictions that did not.
    pub skipped: usize,
}

/// Which prediction.
#[derive(Debug, Clone, Copy)]
enum Branch {
    Conditional,
    Unconditional,
    Perturbed,
}

impl<B: Backend> BranchCaches<B> {
    /// Caches of one kind, each made by a call of `new`.
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

    /// Caches of which each is made by a call of `new`.
    pub(super) fn set_step_cache(&mut self, new: impl FnMut() -> Box<dyn StepCache<B>>) {
        self.caches = Some(BranchCaches::new(new));
    }

    /// What the step cache saved so far; `None` without one.
    pub(super) fn step_cache_report(&self) -> Option<StepCacheReport> {
        self.caches.as_ref().map(|caches| caches.report)
    }

    /// Where the time went so far; `None` if it is not measured.
    pub(super) fn profile(&self) -> Option<DenoisingProfile> {
        self.profiler.as_ref().map(Profiler::profile)
    }

    /// Starts measuring a step, if that is asked for.
    pub(super) fn start_step(&self) {
        if let Some(profiler) = &self.profiler {
            profiler.restart();
        }
    }

    /// Ends measuring a step.
    pub(super) fn finish_step(&self) {
        self.mark(Part::Sampler);
    }

    /// The guided prediction for latents at a sigma, in f32. `index` is the step that asks.
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
        // One pass for both where weights are read for it; else two, which take less memory, and of
        // which each can be cached.
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

    /// The modulation of a sigma: of the run's own, many at once; of another, which some samplers
    /// ask for, that one.
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
