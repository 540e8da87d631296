//! From tensors in files to parameters of models: what each naming scheme calls them, and loading
//! with every tensor accounted for. Key names of checkpoints live here and nowhere else.

mod load;
mod names;
mod quantization_scheme;
mod recipe;
mod recipes;
mod rows;

pub use load::{LoadedModel, PartWeights, Residency, StoredParameter, load_weights};
pub use names::{NameTable, TextEncoderNaming, TransformerNaming, VaeNaming};
pub use quantization_scheme::QuantizationScheme;

pub(crate) use load::stored_parameters;
pub(crate) use names::{RowShare, comfyui_name};
pub(crate) use recipes::{Recipes, find_recipes};
pub(crate) use rows::MappedRows;
