//! What the example programs share: the embedded model, and how pictures, dumps and progress are
//! written.

pub mod arguments;
pub mod dump;
pub mod error_chain;
pub mod grid;
pub mod hub;
pub mod lora;
pub mod memory;
pub mod model;
pub mod output_file;
pub mod parameters;
pub mod peak_memory;
pub mod plot;
pub mod png;
pub mod preview;
pub mod profile;
pub mod progress;
pub mod record;
pub mod sampling;
pub mod source_image;
pub mod summary;
pub mod tiny;
