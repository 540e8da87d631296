//! Flow-matching sampling (arXiv 2209.03003, 2403.03206), shared by inference and training: sigmas,
//! samplers, guidance, and the noise that a torch seed produces.

pub mod guidance;
mod noise;
mod position;
pub mod sampler;
mod scheduler;
mod sigmas;
mod spacing;

pub use guidance::{Guidance, GuidanceMethod, classifier_free_guidance};
pub use noise::NoiseGenerator;
pub use position::StepPosition;
pub use sampler::{Sampler, SamplerKind};
pub use scheduler::FlowMatchEulerScheduler;
pub use sigmas::{MAX_INFERENCE_STEPS, Schedule, linear_sigmas};
pub use spacing::SigmaSpacing;
