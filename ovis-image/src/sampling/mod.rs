//! The flow-matching sampler (arXiv 2209.03003, 2403.03206), the same for inference and training:
//! sigmas, the Euler step, guidance, and the noise that a torch seed stands for.

mod euler;
mod guidance;
mod noise;
mod sigmas;

pub use euler::FlowMatchEulerScheduler;
pub use guidance::classifier_free_guidance;
pub use noise::NoiseGenerator;
pub use sigmas::{MAX_INFERENCE_STEPS, Schedule, linear_sigmas};
