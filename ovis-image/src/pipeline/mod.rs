//! Prompt to image: load once, generate many times.

mod check;
mod denoise;
mod encode;
mod generate;
mod guided_model;
mod image;
mod lora;
mod memory;
mod memory_plan;
mod options;
mod output;
mod placement;
mod pretrained;
mod preview;
mod profile;
mod progress;
mod request;
mod source_image;
mod tokenizer;

pub use denoise::{Denoiser, DenoisingStep};
pub use encode::{EncodedPrompts, PromptReport};
pub use guided_model::StepCacheReport;
pub use lora::{ActiveLora, MergeReport};
pub use memory_plan::{MemoryEstimate, MemoryPlan};
pub use options::{LoadOptions, WeightDtype};
pub use output::{GeneratedImage, GenerationOutput, GenerationSettings, Timings};
pub use pretrained::OvisImagePipeline;
pub use preview::PreviewDecoder;
pub use profile::DenoisingProfile;
pub use progress::Progress;
pub use request::{GenerationRequest, Seeds};
pub use source_image::{ImageFit, SourceImage, SourceSettings};
