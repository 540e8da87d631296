//! Files that hold tensors: memory-mapped safetensors, GGUF and burnpack, and their element
//! encodings, including quantized ones. This module knows nothing of the models.

pub(crate) mod burnpack;
mod convert;
mod dequantize;
mod encoding;
mod files_in_use;
mod gguf;
mod header;
mod pages;
mod quantize;
mod safetensors;
mod small_file;
mod source;
mod weights_file;

pub use encoding::Encoding;
pub use quantize::Quantization;
pub use source::TensorSource;

pub(crate) use convert::{HostBuffer, is_stored_as};
pub(crate) use dequantize::scales_are_finite;
pub(crate) use files_in_use::FilesInUse;
pub(crate) use header::TensorEntry;
pub(crate) use small_file::{MAX_CONFIG_BYTES, is_named, read_small, read_small_text};
pub(crate) use source::{is_weights_file, names_in_folder};
pub(crate) use weights_file::WeightsFile;
