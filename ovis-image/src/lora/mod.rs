//! LoRA files (arXiv 2106.09685) in the spellings of PEFT, diffusers, kohya and LyCORIS, on the
//! transformer's layers. An adapter stays beside the weights, whatever those are kept as: several
//! can be attached, scaled and taken away at any time.
//!
//! Any linear layer of the transformer can have adapters, as with PEFT: those of attention and of the
//! feed-forward layers (207 modules of the release, by diffusers' names), the adaLN modulation
//! (`norm1.linear`, `norm1_context.linear`, `norm.linear`: 39 in the blocks; `norm_out.linear`), the
//! embedders and the output: 252 in all.
//!
//! A file of one naming fits a checkpoint of the other: modules are found by the tables of
//! [`weights`](crate::weights), and land on the rows that they are in our fused layers.

mod attach;
mod file;
mod keys;
mod peft;
mod targets;

pub use attach::{attach_lora, detach_lora, set_lora_scale};
pub use file::LoraFile;

use std::fmt;

use serde::{Deserialize, Serialize};

/// A LoRA that acts on a transformer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ActiveLora {
    /// Name that it was loaded under.
    pub name: String,
    /// Factor of its updates.
    pub scale: f32,
}

/// What became of a LoRA's modules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LoraReport {
    /// Modules that are on a layer now.
    pub applied: usize,
    /// Modules of the file.
    pub modules: usize,
    /// Those that this model does not have, as the file names them; also a text encoder's.
    pub unmatched: Vec<String>,
    /// Bytes that the adapters take on the device.
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
