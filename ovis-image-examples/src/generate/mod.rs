//! What `generate` is made of.

pub mod arguments;
pub mod dump;
pub mod grid;
pub mod lora;
pub mod memory;
pub mod preview;
pub mod profile;
pub mod run;
pub mod source_image;
pub mod summary;
