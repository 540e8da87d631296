//! Files that hold tensors, and what their bytes mean: safetensors and GGUF, memory-mapped; the
//! element encodings of both, quantized ones included. Knows nothing of the models.

mod convert;
mod dequantize;
mod encoding;
mod gguf;
mod pages;
mod quantize;
mod safetensors;
mod source;
mod weights_file;

pub use encoding::Encoding;
pub use quantize::Quantization;
pub use source::TensorSource;

pub(crate) use convert::{HostBuffer, is_stored_as};
pub(crate) use dequantize::scales_are_finite;
pub(crate) use source::{file_names, is_weights_file};
pub(crate) use weights_file::{TensorEntry, WeightsFile};
