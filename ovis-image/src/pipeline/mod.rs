//! Prompt to image: load once, generate many times.

mod check;
mod denoise;
mod encode;
mod generate;
mod image;
mod lora;
mod memory;
mod memory_plan;
mod options;
mod output;
mod placement;
mod pretrained;
mod progress;
mod request;
mod tokenizer;

pub use denoise::{Denoiser, DenoisingStep};
pub use encode::{EncodedPrompts, PromptReport};
pub use lora::{ActiveLora, MergeReport};
pub use memory_plan::{MemoryEstimate, MemoryPlan};
pub use options::{LoadOptions, WeightDtype};
pub use output::{GeneratedImage, GenerationOutput, GenerationSettings, Timings};
pub use pretrained::OvisImagePipeline;
pub use progress::Progress;
pub use request::{GenerationRequest, Seeds};
