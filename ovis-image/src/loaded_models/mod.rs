//! The three models as a pipeline holds them: each on a device, with its dtype, the files that its
//! weights are read from, and what belongs to it (tokenizer, LoRAs).

mod adapted_transformer;
mod image_coder;
mod prompt_encoder;

pub(crate) use adapted_transformer::AdaptedTransformer;
pub use adapted_transformer::MergeReport;
pub(crate) use image_coder::ImageCoder;
pub use prompt_encoder::EncodedPrompts;
pub(crate) use prompt_encoder::PromptEncoder;
