//! What a program asks for, and what was really done: how to load a checkpoint, what to generate
//! with it, and the settings that a result records. Checked against a model by the pipeline.

mod generation_request;
mod options;
mod parameters;
mod settings;
mod tensors;
mod validate;

pub use generation_request::GenerationRequest;
pub use options::LoadOptions;
pub use parameters::GenerationParameters;
pub use settings::{GenerationSettings, PromptReport};

pub(crate) use tensors::checked_data;
pub(crate) use validate::validate_sequence_length;
