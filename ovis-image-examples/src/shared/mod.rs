//! What several programs need.

pub mod error_chain;
pub mod hub;
pub mod model;
pub mod output_file;
pub mod parameters;
pub mod peak_memory;
pub mod png;
pub mod progress;
pub mod record;
pub mod sampling;
pub mod tiny;
