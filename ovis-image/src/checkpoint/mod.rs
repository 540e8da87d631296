//! Checkpoints: detecting the layout of a folder, finding and inspecting its parts, and exporting
//! them to another layout.

mod export;
#[cfg(feature = "extract-lora")]
mod extract;
pub(crate) mod file_names;
mod given_model;
mod infer;
mod inspect;
mod layout;
mod open;
mod part;
mod pending_tokenizer;
mod transformer_files;

pub use export::{ExportOptions, ExportProgress, ExportReport};
#[cfg(feature = "extract-lora")]
pub use extract::ExtractedLora;
pub use inspect::{EncodingShare, PartInspection};
pub use layout::{CheckpointPaths, Layout, PartPaths};
pub use open::{Checkpoint, EmbeddedCheckpoint};

pub(crate) use given_model::{check_dtype, check_given_model};
pub(crate) use part::Part;
pub(crate) use pending_tokenizer::PendingTokenizer;
pub(crate) use transformer_files::TransformerFiles;
