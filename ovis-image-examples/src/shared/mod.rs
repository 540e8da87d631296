//! Code that several programs need. Nothing here depends on a program.

pub mod device;
pub mod error_chain;
pub mod hub;
pub mod lora;
pub mod model;
pub mod output_file;
pub mod peak_memory;
pub mod program;
pub mod progress;
pub mod record;
pub mod sampling;
pub mod tiny;
