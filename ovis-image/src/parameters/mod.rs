//! What the parameters of the models are, from configurations alone: paths, shapes and roles. No
//! tensors and no backend, so that a checkpoint can be inspected, converted and planned without one.
//! Each model lists its own in its `parameters.rs`, tested against the module that `init` builds.

mod list;
#[cfg(all(test, feature = "flex"))]
mod tests;

pub(crate) use list::{ModuleParameters, ParameterList};

/// A parameter of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parameter {
    /// Path in the module tree, for example `double_blocks.0.image_attention.qkv.weight`.
    pub path: String,
    /// Sizes of its axes.
    pub shape: Vec<usize>,
    /// What it does in the model.
    pub role: ParameterRole,
}

/// What a parameter does in its model. Decides where it may be placed and whether it may be
/// quantized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParameterRole {
    /// The table with a row for each token id, of which a prompt needs few.
    TokenEmbedding,
    /// A matrix of a block: most of a model's size.
    BlockMatrix(BlockIndex),
    /// A bias or a norm of a block.
    BlockVector(BlockIndex),
    /// Part of an adaLN modulation, which depends on the timestep alone: used once for many steps.
    Modulation,
    /// Part of the VAE's encoder, which text-to-image does not use.
    ImageEncoder,
    /// Everything else: embedders, final norms and layers, the VAE's decoder.
    Other,
}

/// A block of a model, by kind and position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum BlockIndex {
    /// A block of the text encoder.
    Text(usize),
    /// A double-stream block of the transformer.
    Double(usize),
    /// A single-stream block of the transformer.
    Single(usize),
}

impl Parameter {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().map(|size| *size as u64).product()
    }
}

impl ParameterRole {
    /// The block that the parameter belongs to. `None` for a modulation, which is computed apart
    /// from its block.
    pub fn block(self) -> Option<BlockIndex> {
        match self {
            Self::BlockMatrix(block) | Self::BlockVector(block) => Some(block),
            _ => None,
        }
    }
}
