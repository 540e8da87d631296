//! Where the time of the steps goes.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use burn::tensor::backend::Backend;
use serde::Serialize;

use crate::transformer::{Stage, StageObserver};

/// Time in the sampling loop by what it went to. Measuring waits for the device after each part,
/// which costs a little by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct DenoisingProfile {
    /// Forwards of the transformer, those that a step cache cut short included.
    pub forwards: usize,
    /// Timesteps to every block's modulation.
    pub modulation: Duration,
    /// Latents and text to hidden states.
    pub embedding: Duration,
    /// The double blocks.
    pub double_blocks: Duration,
    /// The single blocks.
    pub single_blocks: Duration,
    /// Hidden states to predictions.
    pub final_layer: Duration,
    /// Guidance, and what a step cache decides and forecasts.
    pub guidance: Duration,
    /// The sampler, and blending where only a part is repainted.
    pub sampler: Duration,
}

/// What the time since the last mark was spent on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Modulation,
    Stage(Stage),
    Guidance,
    Sampler,
}

/// A clock that is stopped after each part.
#[derive(Debug)]
pub(super) struct Profiler<B: Backend> {
    device: B::Device,
    state: RefCell<(Instant, DenoisingProfile)>,
}

impl<B: Backend> Profiler<B> {
    pub(super) fn new(device: &B::Device) -> Self {
        Self {
            device: device.clone(),
            state: RefCell::new((Instant::now(), DenoisingProfile::default())),
        }
    }

    /// Starts anew: the time before is nobody's.
    pub(super) fn restart(&self) {
        self.state.borrow_mut().0 = Instant::now();
    }

    pub(super) fn count_forward(&self) {
        self.state.borrow_mut().1.forwards += 1;
    }

    /// Books the time since the last mark.
    pub(super) fn mark(&self, part: Part) {
        // A device that cannot be waited for fails in the step itself.
        let _ = B::sync(&self.device);
        let (last, profile) = &mut *self.state.borrow_mut();
        let now = Instant::now();
        let spent = now - *last;
        *last = now;
        *match part {
            Part::Modulation => &mut profile.modulation,
            Part::Stage(Stage::Embedding) => &mut profile.embedding,
            Part::Stage(Stage::DoubleBlocks) => &mut profile.double_blocks,
            Part::Stage(Stage::SingleBlocks) => &mut profile.single_blocks,
            Part::Stage(Stage::FinalLayer) => &mut profile.final_layer,
            Part::Guidance => &mut profile.guidance,
            Part::Sampler => &mut profile.sampler,
        } += spent;
    }

    pub(super) fn profile(&self) -> DenoisingProfile {
        self.state.borrow().1
    }
}

impl<B: Backend> StageObserver for Profiler<B> {
    fn finished(&self, stage: Stage) {
        self.mark(Part::Stage(stage));
    }
}
