//! What a program asks for: how to load a checkpoint, and what to generate with it. Checked against
//! a model by the pipeline.

mod generation_request;
mod options;

pub use generation_request::{GenerationRequest, Seeds};
pub use options::LoadOptions;
