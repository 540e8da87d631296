//! LoRA in training: low-rank adapters are the trained models, and the transformer under them is
//! frozen.

mod adapters;
mod config;
mod export;
mod flow_matching;
mod pattern;
#[cfg(test)]
mod tests;

pub use adapters::{LoraAdapters, LoraModule};
pub use config::{LoraConfig, LoraOverride};
pub use flow_matching::LoraFlowMatching;
