//! Loading of tensors from files into the parameters of models: the names in each naming scheme,
//! and loading with every tensor accounted for. Key names of checkpoints live here and nowhere
//! else.

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
