//! The files that an image was made from, as they were named on the command line.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The arguments that affect the image and are not part of the settings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Inputs {
    /// `--model`.
    pub model: Option<PathBuf>,
    /// `--transformer`.
    pub transformer: Option<PathBuf>,
    /// `--vae`.
    pub vae: Option<PathBuf>,
    /// `--text-encoder`.
    pub text_encoder: Option<PathBuf>,
    /// `--tokenizer`.
    pub tokenizer: Option<PathBuf>,
    /// Each `--lora`.
    pub loras: Vec<String>,
    /// `--merge-loras`.
    pub merge_loras: bool,
    /// `--quantize`.
    pub quantize: Option<String>,
    /// `--protect-double-blocks`.
    pub protect_double_blocks: bool,
    /// `--init-image`.
    pub init_image: Option<PathBuf>,
    /// `--mask`.
    pub mask: Option<PathBuf>,
    /// `--latents`.
    pub latents: Option<PathBuf>,
}

/// Meaning of a file, folder or repository for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputRole {
    /// Whole checkpoint.
    Model,
    /// Transformer in place of the checkpoint's.
    Transformer,
    /// VAE in place of the checkpoint's.
    Vae,
    /// Text encoder in place of the checkpoint's.
    TextEncoder,
    /// Tokenizer in place of the checkpoint's.
    Tokenizer,
    /// LoRA.
    Lora,
    /// Image to start from.
    SourceImage,
    /// Mask of the image to start from.
    Mask,
    /// Initial noise.
    InitialNoise,
}

impl fmt::Display for InputRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Model => "model",
            Self::Transformer => "transformer",
            Self::Vae => "VAE",
            Self::TextEncoder => "text encoder",
            Self::Tokenizer => "tokenizer",
            Self::Lora => "LoRA",
            Self::SourceImage => "source image",
            Self::Mask => "mask",
            Self::InitialNoise => "initial noise",
        })
    }
}

impl Inputs {
    /// Returns the paths that were given, each with its meaning. Those of the LoRAs are not among
    /// them, because they are texts with a scale.
    pub fn paths_mut(&mut self) -> impl Iterator<Item = (InputRole, &mut PathBuf)> {
        // All fields are named, so that a new one is not forgotten.
        let Self {
            model,
            transformer,
            vae,
            text_encoder,
            tokenizer,
            loras: _,
            merge_loras: _,
            quantize: _,
            protect_double_blocks: _,
            init_image,
            mask,
            latents,
        } = self;
        [
            (InputRole::Model, model),
            (InputRole::Transformer, transformer),
            (InputRole::Vae, vae),
            (InputRole::TextEncoder, text_encoder),
            (InputRole::Tokenizer, tokenizer),
            (InputRole::SourceImage, init_image),
            (InputRole::Mask, mask),
            (InputRole::InitialNoise, latents),
        ]
        .into_iter()
        .filter_map(|(role, path)| Some((role, path.as_mut()?)))
    }
}
