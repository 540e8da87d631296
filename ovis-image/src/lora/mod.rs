//! LoRA files (arXiv 2106.09685) in the spellings of PEFT, diffusers, kohya and LyCORIS, applied to
//! the transformer's layers. An adapter stays separate from the weights, whatever their format:
//! several can be attached, scaled and detached at any time.
//!
//! Any linear layer of the transformer can have adapters, as with PEFT: those of attention and of
//! the feed-forward layers (207 modules of the release, by diffusers' names), the adaLN modulation
//! (`norm1.linear`, `norm1_context.linear`, `norm.linear`: 39 in the blocks; `norm_out.linear`),
//! the embedders and the output: 252 in all.
//!
//! A file in one naming fits a checkpoint in another: modules are found through the tables of
//! [`weights`](crate::weights), and map to the matching rows of our fused layers.

mod attach;
mod file;
mod format;
mod keys;
#[cfg(feature = "extract-lora")]
mod low_rank;
pub(crate) mod matrix;
mod modules;
mod peft;
mod placed;
mod regroup;
#[cfg(feature = "train")]
mod start;
mod targets;
mod update;
mod updates;
mod write;

pub use attach::{attach_lora, detach_lora, set_lora_scale};
pub use file::LoraFile;
pub use format::LoraFormat;
#[cfg(feature = "extract-lora")]
pub(crate) use low_rank::low_rank;
#[cfg(feature = "train")]
pub(crate) use modules::layer_shapes;
pub use modules::{AdaptableModule, adaptable_modules};
#[cfg(feature = "train")]
pub(crate) use peft::scaling;
pub(crate) use placed::{LayerUpdate, layer_updates};
#[cfg(feature = "train")]
pub(crate) use start::{StartModule, read_start};
#[cfg(any(feature = "extract-lora", feature = "train"))]
pub(crate) use update::LoraUpdate;
pub use updates::LoraUpdates;
#[cfg(feature = "extract-lora")]
pub(crate) use updates::layers_of;

use std::fmt;

use serde::{Deserialize, Serialize};

/// A LoRA that is attached to a transformer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ActiveLora {
    /// Name that it was loaded under.
    pub name: String,
    /// Factor of its updates.
    pub scale: f32,
}

/// Result of attaching a LoRA's modules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LoraReport {
    /// Number of modules that are attached to a layer.
    pub applied: usize,
    /// Number of modules in the file.
    pub modules: usize,
    /// Modules that this model does not have, as the file names them, including those of a text
    /// encoder.
    pub unmatched: Vec<String>,
    /// Memory of the adapters on the device, in bytes.
    pub bytes: u64,
}

impl fmt::Display for LoraReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "applied {} of {} modules", self.applied, self.modules)?;
        if let Some(first) = self.unmatched.first() {
            write!(f, "; not in this model: {first}")?;
            if self.unmatched.len() > 1 {
                write!(f, " and {} more", self.unmatched.len() - 1)?;
            }
        }
        Ok(())
    }
}
