use std::fmt;
use std::str::FromStr;

use burn::tensor::DType;
use serde::{Deserialize, Serialize};

use crate::error::{OvisImageError, Result};
use crate::weights::{Quantisation, Residency};

/// The element type of weights and activations. Normalisation, rotation and sampling are f32
/// whatever this says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightDtype {
    /// Single precision.
    #[default]
    F32,
    /// Half precision: narrow range; the VAE stays in f32.
    F16,
    /// Brain floats: the release's dtype.
    BF16,
}

/// How a checkpoint is loaded.
#[derive(Debug, Clone, Copy)]
pub struct LoadOptions {
    pub(super) dtype: WeightDtype,
    pub(super) vae_dtype: Option<WeightDtype>,
    pub(super) memory_limit: Option<u64>,
    pub(super) text_encoder_residency: Residency,
    pub(super) modulation_residency: Residency,
    pub(super) in_place: bool,
    pub(super) expand_quantised: bool,
    pub(super) quantisation: Option<Quantisation>,
    pub(super) protect_double_blocks: bool,
    pub(super) streamed_blocks: usize,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            dtype: WeightDtype::default(),
            vae_dtype: None,
            memory_limit: None,
            text_encoder_residency: Residency::default(),
            modulation_residency: Residency::default(),
            in_place: true,
            expand_quantised: false,
            quantisation: None,
            protect_double_blocks: false,
            streamed_blocks: 0,
        }
    }
}

impl LoadOptions {
    /// f32 throughout.
    pub fn new() -> Self {
        Self::default()
    }

    /// The dtype of the text encoder and the transformer.
    pub fn dtype(mut self, dtype: WeightDtype) -> Self {
        self.dtype = dtype;
        self
    }

    /// The dtype of the VAE. By default the other models', but f32 beside f16, in which the
    /// decoder's activations can overflow to black images.
    pub fn vae_dtype(mut self, dtype: WeightDtype) -> Self {
        self.vae_dtype = Some(dtype);
        self
    }

    /// Bytes that one request's activations may take; larger requests are refused before any work.
    /// What a device has free is not known to Burn, so GPUs have no limit by default; on CPU
    /// backends, and for what passes through the host, the machine's free memory is one anyhow.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// Where the text encoder is between prompts. By default on the device; with
    /// [`Residency::File`] each prompt reads it from the checkpoint and gives its memory back.
    pub fn text_encoder_residency(mut self, residency: Residency) -> Self {
        self.text_encoder_residency = residency;
        self
    }

    /// Where the weights of the transformer's modulation are, a fifth of it, which an image needs
    /// once per 64 steps. By default on the device; with [`Residency::File`] each image reads them
    /// block by block and gives their memory back.
    pub fn modulation_residency(mut self, residency: Residency) -> Self {
        self.modulation_residency = residency;
        self
    }

    /// Whether a CPU backend computes with weights where they lie in the memory-mapped files, if
    /// those hold them in the dtype asked for (by default yes): loading is then almost free, and the
    /// system can drop their pages and read them again. The files must not be shortened or
    /// overwritten while the pipeline lives; on Unix, deleting or replacing them does no harm.
    pub fn in_place(mut self, in_place: bool) -> Self {
        self.in_place = in_place;
        self
    }

    /// Rounds the weights of the transformer's blocks to 8 or 4 bits when they are loaded, and widens
    /// each block's while the block before it computes. Modulation, norms, biases and embedders are
    /// left alone.
    pub fn quantisation(mut self, quantisation: Quantisation) -> Self {
        self.quantisation = Some(quantisation);
        self
    }

    /// Whether [`quantisation`](Self::quantisation) leaves the double blocks alone, a quarter of the
    /// transformer on which its quality depends the most.
    pub fn protect_double_blocks(mut self, protect: bool) -> Self {
        self.protect_double_blocks = protect;
        self
    }

    /// Whether weights that a GGUF file holds in blocks are widened once, when loaded; by default
    /// they stay in the file and are widened for each use, which takes a fraction of the memory.
    pub fn expand_quantised(mut self, expand: bool) -> Self {
        self.expand_quantised = expand;
        self
    }

    /// How many of the transformer's blocks leave their weights in the file: each of them is read
    /// for each forward, while others compute.
    pub fn streamed_blocks(mut self, blocks: usize) -> Self {
        self.streamed_blocks = blocks;
        self
    }

    pub(super) fn resolved_vae_dtype(&self) -> WeightDtype {
        self.vae_dtype.unwrap_or(match self.dtype {
            WeightDtype::F16 => WeightDtype::F32,
            other => other,
        })
    }
}

impl WeightDtype {
    /// Burn's name of it.
    pub fn to_burn(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::BF16 => DType::BF16,
        }
    }

    /// Bytes of one element.
    pub(super) fn size(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }
}

impl fmt::Display for WeightDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
        })
    }
}

impl FromStr for WeightDtype {
    type Err = OvisImageError;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "f32" => Ok(Self::F32),
            "f16" => Ok(Self::F16),
            "bf16" => Ok(Self::BF16),
            _ => Err(OvisImageError::argument(
                "dtype",
                format!("`{text}` is not one of f32, f16, bf16"),
            )),
        }
    }
}
