//! Code that several programs need. Nothing here depends on a program.

pub mod completions;
pub mod device;
pub mod error_chain;
pub mod headings;
pub mod hub;
pub mod image_file;
pub mod lora;
pub mod model;
pub mod output_file;
pub mod peak_memory;
pub mod program;
pub mod progress;
pub mod record;
pub mod sampling;
pub mod seed;
pub mod threads;
pub mod tiny;
pub mod usage;
pub mod wildcards;
