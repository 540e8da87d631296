//! Diffusion transformer, an MMDiT (arXiv 2403.03206) in FLUX.1's form. Six double-stream blocks
//! keep separate weights for text and image, which meet in attention; single-stream blocks over the
//! joint sequence follow.
//!
//! The graph is fused like the authors': QKV, and QKV with the MLP, are single products.

mod double_block;
mod embed;
mod feed_forward;
mod final_layer;
mod linear_layers;
mod model;
mod modulate;
mod modulation;
mod parameters;
mod residency;
mod self_attention;
mod single_block;
mod staged;
mod step_modulation;
#[cfg(test)]
mod tests;

pub use double_block::{DoubleModulation, DoubleStreamBlock, JointHiddenStates};
pub use embed::TimestepEmbedder;
pub use feed_forward::FeedForward;
pub use final_layer::{FinalLayer, FinalModulation};
pub use model::{OvisImageTransformer, TransformerInput};
pub use modulation::{Modulation, ModulationParams};
pub use self_attention::{QkNorm, StreamAttention};
pub use single_block::SingleStreamBlock;
pub use staged::{SkippedBlocks, Stage, StageObserver, StagedForward};
pub use step_modulation::StepModulation;
