use std::fmt;
use std::path::{Path, PathBuf};

use super::file_names::{self, TOKENIZER_FILE, authors, burnpack, comfyui, diffusers};
use crate::error::{CheckpointError, OvisImageError, Result};
use crate::tensor_file::{
    MAX_CONFIG_BYTES, is_named, is_weights_file, names_in_folder, read_small_text,
};

/// Published forms of the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// A diffusers folder: `transformer/`, `vae/`, `text_encoder/`, `tokenizer/`, `scheduler/`.
    Diffusers,
    /// The authors' files: `ovis_image.safetensors`, `ae.safetensors`, `Ovis2.5-2B/`.
    Authors,
    /// ComfyUI's split files: `diffusion_models/`, `text_encoders/`, `vae/`.
    ComfyUi,
    /// Files in Burn's own format, with the parameters named as in the models here:
    /// `transformer.bpk`, `vae.bpk`, `text_encoder.bpk`, a configuration beside each, `tokenizer/`.
    Burnpack,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Diffusers => "diffusers folder",
            Self::Authors => "authors' files",
            Self::ComfyUi => "ComfyUI split files",
            Self::Burnpack => "burnpack files",
        })
    }
}

/// Paths of a checkpoint's parts: each is a safetensors, GGUF or burnpack file, or a folder with a
/// `config.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointPaths {
    /// The denoiser.
    pub transformer: PathBuf,
    /// The autoencoder.
    pub vae: PathBuf,
    /// The language model.
    pub text_encoder: PathBuf,
    /// A `tokenizer.json` or a folder that contains one.
    pub tokenizer: PathBuf,
    /// A `scheduler_config.json`; the release's scheduler if `None`.
    pub scheduler: Option<PathBuf>,
}

/// Paths of single parts, each of which replaces the one in a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartPaths {
    /// The denoiser.
    pub transformer: Option<PathBuf>,
    /// The autoencoder.
    pub vae: Option<PathBuf>,
    /// The language model.
    pub text_encoder: Option<PathBuf>,
    /// A `tokenizer.json` or a folder that contains one.
    pub tokenizer: Option<PathBuf>,
}

impl CheckpointPaths {
    /// Finds the parts of a checkpoint in a folder.
    ///
    /// # Errors
    /// Returns [`CheckpointError::NotFound`] if the folder or one of its parts does not exist, or
    /// [`CheckpointError::UnknownLayout`] if it matches none of the layouts.
    pub fn discover(folder: impl AsRef<Path>) -> Result<Self> {
        Self::discover_with(folder, &PartPaths::default())
    }

    /// Finds the parts that are not given in a folder, which need not contain the given ones.
    ///
    /// # Errors
    /// Returns the errors of [`discover`](Self::discover).
    pub fn discover_with(folder: impl AsRef<Path>, given: &PartPaths) -> Result<Self> {
        let folder = folder.as_ref();
        match Layout::of(folder)? {
            Layout::Diffusers => Self::diffusers(folder, given),
            Layout::Authors => Self::authors(folder, given),
            Layout::ComfyUi => Self::comfyui(folder, given),
            Layout::Burnpack => Self::burnpack(folder, given),
        }
    }

    fn diffusers(folder: &Path, given: &PartPaths) -> Result<Self> {
        let part =
            |name: &str| existing(folder.join(name), "a diffusers checkpoint has this folder");
        let index = folder.join(diffusers::INDEX);
        if is_named(&index) {
            // Nothing in it is needed, but what is not a file shows that the folder is damaged.
            read_small_text(&index, "JSON configuration", MAX_CONFIG_BYTES)?;
        }
        let scheduler = folder
            .join(diffusers::SCHEDULER)
            .join(diffusers::SCHEDULER_CONFIG);
        Ok(Self {
            transformer: given_or(&given.transformer, || part(diffusers::TRANSFORMER))?,
            vae: given_or(&given.vae, || part(diffusers::VAE))?,
            text_encoder: given_or(&given.text_encoder, || part(diffusers::TEXT_ENCODER))?,
            tokenizer: given_or(&given.tokenizer, || part(diffusers::TOKENIZER))?,
            scheduler: is_named(&scheduler).then_some(scheduler),
        })
    }

    fn authors(folder: &Path, given: &PartPaths) -> Result<Self> {
        let part = |name: &str| {
            let hint = format!(
                "the authors' checkpoint has it beside {}",
                authors::TRANSFORMER
            );
            existing(folder.join(name), &hint)
        };
        Ok(Self {
            transformer: given_or(&given.transformer, || part(authors::TRANSFORMER))?,
            vae: given_or(&given.vae, || part(authors::VAE))?,
            text_encoder: given_or(&given.text_encoder, || part(authors::TEXT_ENCODER))?,
            tokenizer: given_or(&given.tokenizer, || part(authors::TEXT_ENCODER))?,
            scheduler: None,
        })
    }

    fn comfyui(folder: &Path, given: &PartPaths) -> Result<Self> {
        let tokenizer = || {
            let beside_text_encoder = folder.join(comfyui::TEXT_ENCODER_FOLDER);
            [
                folder.join(comfyui::TOKENIZER),
                folder.join(TOKENIZER_FILE),
                beside_text_encoder.join(TOKENIZER_FILE),
            ]
            .into_iter()
            .find(|path| path.exists())
            .ok_or_else(|| {
                OvisImageError::not_found(
                    folder.join(TOKENIZER_FILE),
                    "ComfyUI's files do not include a tokenizer: put Qwen3's tokenizer there, or \
                     give the tokenizer's path",
                )
            })
        };
        let weights = |name: &str, stem: &str| only_weights(&folder.join(name), stem);
        Ok(Self {
            transformer: given_or(&given.transformer, || {
                weights(comfyui::TRANSFORMER_FOLDER, comfyui::TRANSFORMER_STEM)
            })?,
            vae: given_or(&given.vae, || {
                weights(comfyui::VAE_FOLDER, comfyui::VAE_STEM)
            })?,
            text_encoder: given_or(&given.text_encoder, || {
                weights(comfyui::TEXT_ENCODER_FOLDER, comfyui::TEXT_ENCODER_STEM)
            })?,
            tokenizer: given_or(&given.tokenizer, tokenizer)?,
            scheduler: None,
        })
    }

    fn burnpack(folder: &Path, given: &PartPaths) -> Result<Self> {
        let part = |name: &str| existing(folder.join(name), "a checkpoint of Burn's files has it");
        let scheduler = folder.join(burnpack::SCHEDULER_CONFIG);
        Ok(Self {
            transformer: given_or(&given.transformer, || part(burnpack::TRANSFORMER))?,
            vae: given_or(&given.vae, || part(burnpack::VAE))?,
            text_encoder: given_or(&given.text_encoder, || part(burnpack::TEXT_ENCODER))?,
            tokenizer: given_or(&given.tokenizer, || part(burnpack::TOKENIZER))?,
            scheduler: is_named(&scheduler).then_some(scheduler),
        })
    }
}

impl Layout {
    /// Detects the layout of a folder.
    ///
    /// # Errors
    /// Returns [`CheckpointError::NotFound`] if the folder does not exist, or
    /// [`CheckpointError::UnknownLayout`] if it matches none of the layouts.
    pub fn of(folder: &Path) -> Result<Self> {
        let folder = existing(folder.to_owned(), "a checkpoint folder was expected here")?;
        let has = |name: &str| folder.join(name).exists();
        if has(diffusers::INDEX) || has(diffusers::TRANSFORMER) {
            Ok(Self::Diffusers)
        } else if has(authors::TRANSFORMER) {
            Ok(Self::Authors)
        } else if has(comfyui::TRANSFORMER_FOLDER) {
            Ok(Self::ComfyUi)
        } else if has(burnpack::TRANSFORMER) {
            Ok(Self::Burnpack)
        } else {
            Err(CheckpointError::UnknownLayout {
                path: folder,
                expected: file_names::known_layouts(),
            }
            .into())
        }
    }
}

fn given_or(given: &Option<PathBuf>, find: impl FnOnce() -> Result<PathBuf>) -> Result<PathBuf> {
    given.clone().map_or_else(find, Ok)
}

fn existing(path: PathBuf, hint: &str) -> Result<PathBuf> {
    if path.exists() {
        Ok(path)
    } else {
        Err(OvisImageError::not_found(path, hint))
    }
}

/// Finds the weights file in a ComfyUI folder, which may also contain other models' files: the only
/// one, or the only one whose name begins with this model's stem.
fn only_weights(folder: &Path, stem: &str) -> Result<PathBuf> {
    let folder = existing(folder.to_owned(), "a ComfyUI checkpoint has this folder")?;
    let names: Vec<String> = names_in_folder(&folder)?
        .into_iter()
        .filter(|name| is_weights_file(name))
        .collect();
    let named: Vec<&String> = names.iter().filter(|name| name.starts_with(stem)).collect();
    match (&named[..], &names[..]) {
        ([one], _) => Ok(folder.join(one)),
        ([], [one]) => Ok(folder.join(one)),
        ([], []) => Err(OvisImageError::not_found(
            folder.join(format!("{stem}*.safetensors")),
            "the folder does not contain a weights file",
        )),
        _ => Err(OvisImageError::invalid_file(
            folder,
            "checkpoint",
            format!("several files match: {names:?}; give the path of one"),
        )),
    }
}
