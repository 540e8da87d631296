//! Prompt to image: load once, generate many times.

mod check;
mod denoise;
mod encode;
mod files_in_use;
mod generate;
mod guided_model;
mod lora;
mod output;
mod pretrained;
mod preview;
mod profile;
mod progress;
mod tokenizer;

pub use denoise::{Denoiser, DenoisingStep};
pub use encode::{EncodedPrompts, PromptReport};
pub use guided_model::StepCacheReport;
pub use lora::{ActiveLora, MergeReport};
pub use output::{GeneratedImage, GenerationOutput, GenerationSettings, Timings};
pub use pretrained::OvisImagePipeline;
pub use profile::DenoisingProfile;
pub use progress::Progress;
