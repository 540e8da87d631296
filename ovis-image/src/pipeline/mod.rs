//! Pipeline from prompts to images: loaded once, it serves many requests.

mod adapted_transformer;
mod check;
mod denoise;
mod embeddings;
mod generate;
mod guided_model;
mod image_coder;
mod lora;
mod output;
mod pretrained;
mod profile;
mod progress;
mod prompt_encoder;
mod second_pass;
mod stages;
mod start;

pub use adapted_transformer::MergeReport;
pub use denoise::{Denoiser, DenoisingStep};
pub use guided_model::StepCacheReport;
pub use output::{GeneratedImage, GenerationOutput, Timings};
pub use pretrained::OvisImagePipeline;
pub use profile::DenoisingProfile;
pub use progress::Progress;
pub use prompt_encoder::EncodedPrompts;
