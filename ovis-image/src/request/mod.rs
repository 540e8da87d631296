//! Load options, generation requests, and the settings recorded in a result. The pipeline checks
//! requests against its model.

mod generation_request;
mod options;
mod parameters;
mod second_pass;
mod settings;
mod tensors;
mod validate;

pub use generation_request::GenerationRequest;
pub use options::LoadOptions;
pub use parameters::GenerationParameters;
pub use second_pass::{SecondPass, UpscaleMethod};
pub use settings::{GenerationSettings, PromptReport, SecondPassRun};

pub(crate) use tensors::checked_data;
pub(crate) use validate::validate_sequence_length;
