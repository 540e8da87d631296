//! From files to models: finding the layout, reading safetensors and GGUF, naming, and loading with every
//! tensor accounted for. Key names of checkpoints live here and nowhere else.

mod checkpoint;
mod convert;
mod dequantise;
mod encoding;
mod export;
mod files;
mod infer;
mod inspect;
mod layout;
mod load;
mod names;
mod plan;
mod planned;
mod quantise;
mod rows;
mod source;

pub use checkpoint::{Checkpoint, EmbeddedCheckpoint};
pub use encoding::Encoding;
pub use export::{ExportOptions, ExportProgress, ExportReport};
pub use inspect::{EncodingShare, PartInspection};
pub use layout::{CheckpointPaths, Layout, PartPaths};
pub use load::{ParameterInfo, PartWeights, Residency, load_weights};
pub use names::{NameTable, TransformerNaming, VaeNaming};
pub use quantise::Quantisation;
pub use source::TensorSource;

pub(crate) use checkpoint::TokenizerFile;
pub(crate) use load::{PlannedParameter, planned_parameters};
pub(crate) use names::RowShare;
pub(crate) use rows::MappedRows;
