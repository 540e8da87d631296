use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

use crate::backend::OvisOps;
use crate::ops::{RotaryTable, unpack_latents};
use crate::sampling::{FlowMatchEulerScheduler, classifier_free_guidance};
use crate::transformer::{OvisImageTransformer, StepModulation, TransformerInput};

/// The sampling loop as an iterator: each call of `next` is one step, so that the caller owns
/// progress, previews and cancellation.
#[derive(Debug)]
pub struct Denoiser<'a, B: Backend> {
    pub(super) transformer: &'a OvisImageTransformer<B>,
    pub(super) scheduler: &'a FlowMatchEulerScheduler,
    /// Steps + 1 of them.
    pub(super) sigmas: Vec<f32>,
    pub(super) guidance_scale: f32,
    /// `[images, 256, context]`.
    pub(super) prompt_embeds: Tensor<B, 3>,
    /// The same of the negative prompts; `None` without guidance.
    pub(super) negative_prompt_embeds: Option<Tensor<B, 3>>,
    pub(super) rope: RotaryTable<B>,
    /// Patch rows and columns.
    pub(super) grid: [usize; 2],
    /// Packed, `[images, tokens, channels]`, always f32: the steps are small against bf16's.
    pub(super) latents: Tensor<B, 3>,
    pub(super) dtype: DType,
    pub(super) completed: usize,
    /// Of the steps from `completed` rounded down to a multiple of [`MODULATED_STEPS`] on.
    pub(super) modulation: Option<StepModulation<B>>,
    /// Whether its weights are read when used, and given back.
    pub(super) modulation_is_absent: bool,
}

/// Steps whose modulation is computed at once: enough to read its weights once for most schedules,
/// few enough that it stays small (at 7B, 2 MB a step in f32).
const MODULATED_STEPS: usize = 64;

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
    before: Tensor<B, 3>,
    after: Tensor<B, 3>,
    velocity: Tensor<B, 3>,
    grid: [usize; 2],
}

impl<B: OvisOps> Denoiser<'_, B> {
    /// Steps in all.
    pub fn total_steps(&self) -> usize {
        self.sigmas.len().saturating_sub(1)
    }

    /// The latents as they are now, `[images, channels, height, width]`, f32.
    pub fn latents(&self) -> Tensor<B, 4> {
        unpack_latents(self.latents.clone(), self.grid)
    }

    /// The current step's modulation.
    fn modulation(&mut self) -> StepModulation<B> {
        let index = self.completed % MODULATED_STEPS;
        let known = self.modulation.take().filter(|_| index > 0);
        let modulation = known.unwrap_or_else(|| {
            let first = self.completed - index;
            let last = (first + MODULATED_STEPS).min(self.total_steps());
            let timesteps: Vec<f32> = self.sigmas[first..last]
                .iter()
                .map(|sigma| self.scheduler.model_timestep(*sigma, self.dtype))
                .collect();
            let conditioning = self.transformer.conditioning(&timesteps);
            match self.modulation_is_absent {
                false => self.transformer.modulation(conditioning),
                true => self.transformer.modulation_of_copies(conditioning),
            }
        });
        let current = modulation.item(index);
        self.modulation = Some(modulation);
        current
    }

    /// The guided prediction of the current step, in f32.
    fn velocity(&mut self) -> Tensor<B, 3> {
        let modulation = self.modulation();
        let predict = |latents: &Tensor<B, 3>, prompt_embeds: &Tensor<B, 3>| {
            let input = TransformerInput {
                latents: latents.clone().cast(self.dtype),
                prompt_embeds: prompt_embeds.clone(),
                timesteps: &[],
                rope: &self.rope,
            };
            self.transformer
                .forward_modulated(input, &modulation)
                .cast(DType::F32)
        };
        let Some(negative) = &self.negative_prompt_embeds else {
            return predict(&self.latents, &self.prompt_embeds);
        };
        // One pass for both where weights are read for it; else two, which take less memory.
        let (conditional, unconditional) = match self.transformer.streamed_blocks() {
            0 => (
                predict(&self.latents, &self.prompt_embeds),
                predict(&self.latents, negative),
            ),
            _ => {
                let twice =
                    |a: &Tensor<B, 3>, b: &Tensor<B, 3>| Tensor::cat(vec![a.clone(), b.clone()], 0);
                let both = predict(
                    &twice(&self.latents, &self.latents),
                    &twice(&self.prompt_embeds, negative),
                );
                let images = both.dims()[0] / 2;
                (
                    both.clone().narrow(0, 0, images),
                    both.narrow(0, images, images),
                )
            }
        };
        classifier_free_guidance(conditional, unconditional, self.guidance_scale)
    }
}

impl<B: OvisOps> Iterator for Denoiser<'_, B> {
    type Item = DenoisingStep<B>;

    fn next(&mut self) -> Option<Self::Item> {
        let sigma = *self.sigmas.get(self.completed)?;
        let sigma_next = *self.sigmas.get(self.completed + 1)?;
        let velocity = self.velocity();
        let before = self.latents.clone();
        self.latents =
            FlowMatchEulerScheduler::step(before.clone(), velocity.clone(), sigma, sigma_next);
        self.completed += 1;
        Some(DenoisingStep {
            completed: self.completed,
            total: self.total_steps(),
            sigma,
            sigma_next,
            before,
            after: self.latents.clone(),
            velocity,
            grid: self.grid,
        })
    }
}

impl<B: OvisOps> DenoisingStep<B> {
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
}
