//! Profiling of the denoising steps.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use burn::tensor::backend::Backend;
use serde::Serialize;

use crate::transformer::{Stage, StageObserver};

/// Time spent in each part of the sampling loop.
///
/// Measuring waits for the device after each part, which itself costs a little time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct DenoisingProfile {
    /// Number of transformer forwards, including those that a step cache shortened.
    pub forwards: usize,
    /// Time to compute every block's modulation from the timesteps.
    pub modulation: Duration,
    /// Time to embed latents and text as hidden states.
    pub embedding: Duration,
    /// Time in the double blocks.
    pub double_blocks: Duration,
    /// Time in the single blocks.
    pub single_blocks: Duration,
    /// Time to project hidden states to predictions.
    pub final_layer: Duration,
    /// Time in guidance, and in the decisions and forecasts of a step cache.
    pub guidance: Duration,
    /// Time in the sampler, and in blending if only a part is repainted.
    pub sampler: Duration,
}

impl DenoisingProfile {
    /// Adds the time of another loop.
    pub(super) fn add(&mut self, other: &Self) {
        self.forwards += other.forwards;
        self.modulation += other.modulation;
        self.embedding += other.embedding;
        self.double_blocks += other.double_blocks;
        self.single_blocks += other.single_blocks;
        self.final_layer += other.final_layer;
        self.guidance += other.guidance;
        self.sampler += other.sampler;
    }
}

/// Part of a step that the time since the last mark is attributed to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    Modulation,
    Stage(Stage),
    Guidance,
    Sampler,
}

/// Clock that attributes time to each part of a step.
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

    /// Restarts the clock. The time before is attributed to no part.
    pub(super) fn restart(&self) {
        self.state.borrow_mut().0 = Instant::now();
    }

    pub(super) fn count_forward(&self) {
        self.state.borrow_mut().1.forwards += 1;
    }

    /// Attributes the time since the last mark to a part.
    pub(super) fn mark(&self, part: Part) {
        // If the device fails here, the step itself reports it.
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
