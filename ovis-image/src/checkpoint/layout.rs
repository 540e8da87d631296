use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::{CheckpointError, OvisImageError, Result};
use crate::tensor_file::{file_names, is_weights_file};

/// The published forms of the checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Layout {
    /// A diffusers folder: `transformer/`, `vae/`, `text_encoder/`, `tokenizer/`, `scheduler/`.
    Diffusers,
    /// The authors' files: `ovis_image.safetensors`, `ae.safetensors`, `Ovis2.5-2B/`.
    Authors,
    /// ComfyUI's split files: `diffusion_models/`, `text_encoders/`, `vae/`.
    ComfyUi,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Diffusers => "diffusers folder",
            Self::Authors => "authors' files",
            Self::ComfyUi => "ComfyUI split files",
        })
    }
}

/// Where each part of a checkpoint lies: a safetensors or GGUF file, or a folder with a `config.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointPaths {
    /// The denoiser.
    pub transformer: PathBuf,
    /// The autoencoder.
    pub vae: PathBuf,
    /// The language model.
    pub text_encoder: PathBuf,
    /// A `tokenizer.json` or a folder that has one.
    pub tokenizer: PathBuf,
    /// A `scheduler_config.json`; the release's scheduler when absent.
    pub scheduler: Option<PathBuf>,
}

/// Parts that are given by their own paths, each in place of what a folder holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartPaths {
    /// The denoiser.
    pub transformer: Option<PathBuf>,
    /// The autoencoder.
    pub vae: Option<PathBuf>,
    /// The language model.
    pub text_encoder: Option<PathBuf>,
    /// A `tokenizer.json` or a folder that has one.
    pub tokenizer: Option<PathBuf>,
}

impl CheckpointPaths {
    /// Finds the parts of a checkpoint in a folder.
    ///
    /// # Errors
    /// [`CheckpointError::NotFound`] when the folder or one of its parts is not there,
    /// [`CheckpointError::UnknownLayout`] when it looks like none of the layouts.
    pub fn discover(folder: impl AsRef<Path>) -> Result<Self> {
        Self::discover_with(folder, &PartPaths::default())
    }

    /// Finds the parts that are not given; the folder may lack the others.
    ///
    /// # Errors
    /// As [`discover`](Self::discover).
    pub fn discover_with(folder: impl AsRef<Path>, given: &PartPaths) -> Result<Self> {
        let folder = folder.as_ref();
        match Layout::of(folder)? {
            Layout::Diffusers => Self::diffusers(folder, given),
            Layout::Authors => Self::authors(folder, given),
            Layout::ComfyUi => Self::comfyui(folder, given),
        }
    }

    fn diffusers(folder: &Path, given: &PartPaths) -> Result<Self> {
        let part =
            |name: &str| existing(folder.join(name), "a diffusers checkpoint has this folder");
        let scheduler = folder.join("scheduler").join("scheduler_config.json");
        Ok(Self {
            transformer: given_or(&given.transformer, || part("transformer"))?,
            vae: given_or(&given.vae, || part("vae"))?,
            text_encoder: given_or(&given.text_encoder, || part("text_encoder"))?,
            tokenizer: given_or(&given.tokenizer, || part("tokenizer"))?,
            scheduler: scheduler.is_file().then_some(scheduler),
        })
    }

    fn authors(folder: &Path, given: &PartPaths) -> Result<Self> {
        let part = |name: &str| {
            existing(
                folder.join(name),
                "the authors' checkpoint has it beside ovis_image.safetensors",
            )
        };
        Ok(Self {
            transformer: given_or(&given.transformer, || part("ovis_image.safetensors"))?,
            vae: given_or(&given.vae, || part("ae.safetensors"))?,
            text_encoder: given_or(&given.text_encoder, || part("Ovis2.5-2B"))?,
            tokenizer: given_or(&given.tokenizer, || part("Ovis2.5-2B"))?,
            scheduler: None,
        })
    }

    fn comfyui(folder: &Path, given: &PartPaths) -> Result<Self> {
        let tokenizer = || {
            [
                "tokenizer",
                "tokenizer.json",
                "text_encoders/tokenizer.json",
            ]
            .iter()
            .map(|name| folder.join(name))
            .find(|path| path.exists())
            .ok_or_else(|| {
                OvisImageError::not_found(
                    folder.join("tokenizer.json"),
                    "ComfyUI's files do not include a tokenizer: put Qwen3's tokenizer.json there, \
                         or give the tokenizer's path",
                )
            })
        };
        let weights = |name: &str, stem: &str| only_weights(&folder.join(name), stem);
        Ok(Self {
            transformer: given_or(&given.transformer, || {
                weights("diffusion_models", "ovis_image")
            })?,
            vae: given_or(&given.vae, || weights("vae", "ae"))?,
            text_encoder: given_or(&given.text_encoder, || weights("text_encoders", "ovis_2.5"))?,
            tokenizer: given_or(&given.tokenizer, tokenizer)?,
            scheduler: None,
        })
    }
}

impl Layout {
    /// The layout of a folder.
    ///
    /// # Errors
    /// [`CheckpointError::NotFound`] or [`CheckpointError::UnknownLayout`].
    pub fn of(folder: &Path) -> Result<Self> {
        let folder = existing(folder.to_owned(), "a checkpoint folder was expected here")?;
        let has = |name: &str| folder.join(name).exists();
        if has("model_index.json") || has("transformer") {
            Ok(Self::Diffusers)
        } else if has("ovis_image.safetensors") {
            Ok(Self::Authors)
        } else if has("diffusion_models") {
            Ok(Self::ComfyUi)
        } else {
            Err(CheckpointError::UnknownLayout { path: folder }.into())
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

/// The weights file of a ComfyUI folder, which may hold other models' too: the only one, or the
/// only one whose name begins as this model's does.
fn only_weights(folder: &Path, stem: &str) -> Result<PathBuf> {
    let folder = existing(folder.to_owned(), "a ComfyUI checkpoint has this folder")?;
    let names: Vec<String> = file_names(&folder)?
        .into_iter()
        .filter(|name| is_weights_file(name))
        .collect();
    let named: Vec<&String> = names.iter().filter(|name| name.starts_with(stem)).collect();
    match (&named[..], &names[..]) {
        ([one], _) => Ok(folder.join(one)),
        ([], [one]) => Ok(folder.join(one)),
        ([], []) => Err(OvisImageError::not_found(
            folder.join(format!("{stem}*.safetensors")),
            "the folder has no safetensors or GGUF file",
        )),
        _ => Err(OvisImageError::invalid_file(
            folder,
            "checkpoint",
            format!("more than one file could be meant: {names:?}; name one by its path"),
        )),
    }
}
