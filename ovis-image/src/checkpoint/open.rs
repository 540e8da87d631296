use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::infer;
use super::layout::CheckpointPaths;
use super::part::Part;
use crate::config::{SchedulerConfig, TextEncoderConfig, TransformerConfig, VaeConfig};
use crate::error::{OvisImageError, Result};
use crate::tensor_file::TensorSource;
use crate::weights::{NameTable, TransformerNaming, VaeNaming};

/// An opened checkpoint: configurations read and checked, files mapped, no weight read yet.
#[derive(Debug)]
pub struct Checkpoint {
    pub(crate) transformer: Part<TransformerConfig>,
    pub(crate) vae: Part<VaeConfig>,
    pub(crate) text_encoder: Part<TextEncoderConfig>,
    pub(crate) scheduler: SchedulerConfig,
    pub(crate) tokenizer: TokenizerFile,
}

/// The name under which files of ours carry the configuration of their part, for layouts that have
/// none: not all sizes can be told from tensors.
pub(super) const CONFIG_METADATA: &str = "ovis_image.config";

/// Where the tokenizer is read from.
#[derive(Debug, Clone)]
pub(crate) enum TokenizerFile {
    Path(PathBuf),
    Static(&'static [u8]),
}

impl TokenizerFile {
    /// What errors call it.
    pub(crate) fn name(&self) -> PathBuf {
        match self {
            Self::Path(path) => path.clone(),
            Self::Static(_) => "embedded tokenizer.json".into(),
        }
    }

    /// Size of the file in bytes; 0 if it cannot be found, which its reader reports.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Path(path) => std::fs::metadata(path).map_or(0, |metadata| metadata.len()),
            Self::Static(bytes) => bytes.len() as u64,
        }
    }
}

/// A checkpoint in diffusers' naming that is part of the program, for `include_bytes!`.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedCheckpoint {
    /// `transformer/config.json`.
    pub transformer_config: &'static str,
    /// The transformer's safetensors file.
    pub transformer: &'static [u8],
    /// `vae/config.json`.
    pub vae_config: &'static str,
    /// The VAE's safetensors file.
    pub vae: &'static [u8],
    /// `text_encoder/config.json`.
    pub text_encoder_config: &'static str,
    /// The text encoder's safetensors file.
    pub text_encoder: &'static [u8],
    /// `scheduler/scheduler_config.json`.
    pub scheduler_config: &'static str,
    /// `tokenizer/tokenizer.json`.
    pub tokenizer: &'static [u8],
}

impl Checkpoint {
    /// Opens a checkpoint in any of its layouts.
    ///
    /// # Errors
    /// As [`CheckpointPaths::discover`] and [`open_paths`](Self::open_paths).
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        Self::open_paths(&CheckpointPaths::discover(folder)?)
    }

    /// Opens the parts of a checkpoint; each part's naming is found from its keys, so that parts
    /// of different layouts go together.
    ///
    /// # Errors
    /// Errors that name the file: not found, not safetensors, unknown naming, invalid configuration.
    pub fn open_paths(paths: &CheckpointPaths) -> Result<Self> {
        let part = |path: &Path| -> Result<(Option<(PathBuf, String)>, TensorSource)> {
            if !path.exists() {
                return Err(OvisImageError::NotFound {
                    path: path.to_owned(),
                    hint: "a safetensors or GGUF file or a folder with one was expected here"
                        .into(),
                });
            }
            Ok((sibling_config(path)?, TensorSource::open(path)?))
        };
        let (transformer_json, transformer) = part(&paths.transformer)?;
        let (vae_json, vae) = part(&paths.vae)?;
        let (text_encoder_json, text_encoder) = part(&paths.text_encoder)?;
        let scheduler = match &paths.scheduler {
            Some(path) => parse(path, &read_text(path)?)?,
            None => SchedulerConfig::ovis_image_7b(),
        };
        let tokenizer = match paths.tokenizer.is_dir() {
            true => paths.tokenizer.join("tokenizer.json"),
            false => paths.tokenizer.clone(),
        };
        if !tokenizer.is_file() {
            return Err(OvisImageError::NotFound {
                path: tokenizer,
                hint: "the tokenizer's tokenizer.json is needed to read prompts".into(),
            });
        }
        Self::assemble(
            (given(transformer_json)?, transformer),
            (given(vae_json)?, vae),
            (given(text_encoder_json)?, text_encoder),
            scheduler,
            TokenizerFile::Path(tokenizer),
        )
    }

    /// Opens a checkpoint that is part of the program.
    ///
    /// # Errors
    /// As [`open_paths`](Self::open_paths).
    pub fn open_embedded(files: &EmbeddedCheckpoint) -> Result<Self> {
        fn config<C: DeserializeOwned>(name: &str, text: &str) -> Result<Option<C>> {
            parse(Path::new(name), text).map(Some)
        }
        Self::assemble(
            (
                config("embedded transformer/config.json", files.transformer_config)?,
                TensorSource::from_static("embedded transformer", files.transformer)?,
            ),
            (
                config("embedded vae/config.json", files.vae_config)?,
                TensorSource::from_static("embedded vae", files.vae)?,
            ),
            (
                config(
                    "embedded text_encoder/config.json",
                    files.text_encoder_config,
                )?,
                TensorSource::from_static("embedded text_encoder", files.text_encoder)?,
            ),
            parse(
                Path::new("embedded scheduler/scheduler_config.json"),
                files.scheduler_config,
            )?,
            TokenizerFile::Static(files.tokenizer),
        )
    }

    fn assemble(
        transformer: (Option<TransformerConfig>, TensorSource),
        vae: (Option<VaeConfig>, TensorSource),
        text_encoder: (Option<TextEncoderConfig>, TensorSource),
        scheduler: SchedulerConfig,
        tokenizer: TokenizerFile,
    ) -> Result<Self> {
        let checkpoint = Self {
            transformer: transformer_part(transformer)?,
            vae: vae_part(vae)?,
            text_encoder: text_encoder_part(text_encoder)?,
            scheduler,
            tokenizer,
        };
        checkpoint.scheduler.validate()?;
        let (transformer, vae) = (&checkpoint.transformer.config, &checkpoint.vae.config);
        if transformer.latent_channels() != vae.latent_channels {
            return Err(OvisImageError::config(
                "transformer",
                format!(
                    "in_channels / 4 = {} != latent_channels = {} of the VAE: they belong to different models",
                    transformer.latent_channels(),
                    vae.latent_channels
                ),
            ));
        }
        if transformer.joint_attention_dim != checkpoint.text_encoder.config.hidden_size {
            return Err(OvisImageError::config(
                "transformer",
                format!(
                    "joint_attention_dim = {} != hidden_size = {} of the text encoder: they belong to different models",
                    transformer.joint_attention_dim, checkpoint.text_encoder.config.hidden_size
                ),
            ));
        }
        Ok(checkpoint)
    }

    /// The transformer's configuration, as read or inferred.
    pub fn transformer_config(&self) -> &TransformerConfig {
        &self.transformer.config
    }

    /// The VAE's configuration, as read or inferred.
    pub fn vae_config(&self) -> &VaeConfig {
        &self.vae.config
    }

    /// The text encoder's configuration, as read or inferred.
    pub fn text_encoder_config(&self) -> &TextEncoderConfig {
        &self.text_encoder.config
    }

    /// The scheduler's configuration.
    pub fn scheduler_config(&self) -> &SchedulerConfig {
        &self.scheduler
    }
}

fn transformer_part(
    (config, source): (Option<TransformerConfig>, TensorSource),
) -> Result<Part<TransformerConfig>> {
    let naming: TransformerNaming = infer::transformer_naming(&source)?;
    let config = match config.map_or_else(|| carried(&source), |config| Ok(Some(config)))? {
        Some(config) => config,
        None => infer::transformer_config(&source, naming)?,
    };
    config.validate()?;
    let table = NameTable::transformer(naming);
    Ok(Part {
        config,
        source: Arc::new(source),
        table,
    })
}

fn vae_part((config, source): (Option<VaeConfig>, TensorSource)) -> Result<Part<VaeConfig>> {
    let naming: VaeNaming = infer::vae_naming(&source)?;
    let config = match config.map_or_else(|| carried(&source), |config| Ok(Some(config)))? {
        Some(config) => config,
        None => infer::vae_config(&source, naming)?,
    };
    config.validate()?;
    let table = NameTable::vae(naming, config.block_out_channels.len());
    Ok(Part {
        config,
        source: Arc::new(source),
        table,
    })
}

fn text_encoder_part(
    (config, source): (Option<TextEncoderConfig>, TensorSource),
) -> Result<Part<TextEncoderConfig>> {
    let config = match config.map_or_else(|| carried(&source), |config| Ok(Some(config)))? {
        Some(config) => config,
        None => infer::text_encoder_config(&source)?,
    };
    config.validate()?;
    let table = NameTable::text_encoder();
    Ok(Part {
        config,
        source: Arc::new(source),
        table,
    })
}

/// The configuration that a file carries.
fn carried<C: DeserializeOwned>(source: &TensorSource) -> Result<Option<C>> {
    let text = source.metadata(CONFIG_METADATA);
    text.map(|text| parse(source.path(), text)).transpose()
}

/// The `config.json` in a part's folder; single files carry none.
fn sibling_config(path: &Path) -> Result<Option<(PathBuf, String)>> {
    let config = path.join("config.json");
    if path.is_dir() && config.is_file() {
        let text = read_text(&config)?;
        return Ok(Some((config, text)));
    }
    Ok(None)
}

fn given<C: DeserializeOwned>(json: Option<(PathBuf, String)>) -> Result<Option<C>> {
    json.map(|(path, text)| parse(&path, &text)).transpose()
}

fn read_text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| OvisImageError::io(path, error))
}

fn parse<C: DeserializeOwned>(path: &Path, text: &str) -> Result<C> {
    serde_json::from_str(text).map_err(|error| OvisImageError::InvalidFile {
        path: path.to_owned(),
        format: "JSON configuration",
        reason: error.to_string(),
    })
}
