//! The MMDiT (arXiv 2403.03206, in the FLUX.1 form): six double-stream blocks, where text and
//! image keep their own weights and meet in attention, then single-stream blocks over the joint
//! sequence. The graph is the authors' fused one: QKV, and QKV with the MLP, are single products.

mod double_block;
mod embed;
mod feed_forward;
mod final_layer;
mod linear_layers;
mod model;
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
