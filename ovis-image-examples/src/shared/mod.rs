//! Code that several programs need. Nothing here depends on a program.

#[cfg(feature = "train")]
pub mod allocator;
pub mod completions;
pub mod device;
pub mod error_chain;
pub mod headings;
pub mod hub;
pub mod image_file;
pub mod input_file;
pub mod input_image;
pub mod interrupt;
pub mod lora;
pub mod model;
pub mod output_file;
pub mod panics;
pub mod peak_memory;
pub mod program;
pub mod progress;
pub mod record;
pub mod sampling;
pub mod seed;
pub mod terminal;
pub mod threads;
pub mod tiny;
pub mod usage;
pub mod wildcards;
