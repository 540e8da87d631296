//! Pipeline from prompts to images: loaded once, it serves many requests.

mod check;
mod denoise;
mod embeddings;
mod generate;
mod guided_model;
mod lora;
mod output;
mod pretrained;
mod profile;
mod progress;
mod second_pass;
mod stages;
mod start;

pub use denoise::{Denoiser, DenoisingStep};
pub use guided_model::StepCacheReport;
pub use output::{GeneratedImage, GenerationOutput, Timings};
pub use pretrained::OvisImagePipeline;
pub use profile::DenoisingProfile;
pub use progress::Progress;

pub use crate::loaded_models::{EncodedPrompts, MergeReport};
