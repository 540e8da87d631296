//! Paths, shapes and roles of the models' parameters, derived from configurations alone.
//!
//! No tensors or backend are needed, so that a checkpoint can be inspected, converted and planned
//! without one. Each model lists its parameters in its `parameters.rs`, which is tested against the
//! module that `init` builds.

mod list;
#[cfg(all(test, feature = "flex"))]
mod tests;

pub(crate) use list::{ModuleParameters, ParameterList};

/// Parameter of a model: its path, shape, kind and role.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parameter {
    /// Path in the module tree, for example `double_blocks.0.image_attention.qkv.weight`.
    pub path: String,
    /// Sizes of the axes.
    pub shape: Vec<usize>,
    /// Part that it plays in its layer.
    pub kind: ParameterKind,
    /// Role of the parameter in the model.
    pub role: ParameterRole,
}

/// Part that a parameter plays in its layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParameterKind {
    /// Matrix, kernel or table.
    Weight,
    /// Factors of a norm.
    Scale,
    /// Summands of a layer or norm.
    Bias,
    /// Matrix or kernel of the last layer of a residual branch.
    ResidualWeight,
    /// Kernel of the latents' moments: means first, then as many logarithms of variances.
    MomentsWeight,
    /// Summands of the latents' moments.
    MomentsBias,
}

/// Role of a parameter in its model, which determines where it may be placed, whether it may be
/// quantized, and how it starts in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParameterRole {
    /// Embedding table with a row for each token id. A prompt needs only few of the rows.
    TokenEmbedding,
    /// Matrix of a block. These are most of a model's size.
    BlockMatrix(BlockIndex),
    /// Bias or norm of a block.
    BlockVector(BlockIndex),
    /// Part of an adaLN modulation, which depends only on the timestep and is used once for many
    /// steps.
    Modulation,
    /// Part of the VAE's encoder, which text-to-image does not use.
    ImageEncoder,
    /// Last projection of the transformer.
    FinalProjection,
    /// Everything else: embedders, final norms, the VAE's decoder.
    Other,
}

/// Block of a model, by kind and position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum BlockIndex {
    /// Block of the text encoder.
    Text(usize),
    /// Double-stream block of the transformer.
    Double(usize),
    /// Single-stream block of the transformer.
    Single(usize),
}

impl Parameter {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().map(|size| *size as u64).product()
    }
}

impl ParameterRole {
    /// Block that the parameter belongs to; `None` for a modulation, which is computed separately
    /// from its block.
    pub fn block(self) -> Option<BlockIndex> {
        match self {
            Self::BlockMatrix(block) | Self::BlockVector(block) => Some(block),
            _ => None,
        }
    }
}
