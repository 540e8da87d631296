use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::file_names::{CONFIG_FILE, TOKENIZER_FILE, burnpack};
use super::infer;
use super::layout::CheckpointPaths;
use super::part::Part;
use crate::config::{SchedulerConfig, TextEncoderConfig, TransformerConfig, VaeConfig};
use crate::error::{CheckpointError, OvisImageError, Result};
use crate::tensor_file::{MAX_CONFIG_BYTES, TensorSource, is_named, read_small_text};
use crate::weights::{NameTable, TextEncoderNaming, TransformerNaming, VaeNaming};

/// An opened checkpoint: its configurations are read and checked and its files mapped, but no
/// weights are read yet.
#[derive(Debug)]
pub struct Checkpoint {
    pub(crate) transformer: Part<TransformerConfig>,
    pub(crate) vae: Part<VaeConfig>,
    pub(crate) text_encoder: Part<TextEncoderConfig>,
    pub(crate) scheduler: SchedulerConfig,
    pub(crate) tokenizer: TokenizerFile,
}

/// Metadata name under which our files carry the configuration of their part, for layouts without
/// configuration files: not all sizes can be inferred from tensors.
pub(super) const CONFIG_METADATA: &str = "ovis_image.config";

/// Format of configurations in errors.
const CONFIG_FORMAT: &str = "JSON configuration";

/// Source of the tokenizer.
#[derive(Debug, Clone)]
pub(crate) enum TokenizerFile {
    Path(PathBuf),
    Static(&'static [u8]),
}

impl TokenizerFile {
    /// Returns the name by which errors refer to the tokenizer.
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

/// A checkpoint in diffusers' naming that is embedded in the program, for `include_bytes!`.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedCheckpoint {
    /// Content of `transformer/config.json`.
    pub transformer_config: &'static str,
    /// The transformer's safetensors file.
    pub transformer: &'static [u8],
    /// Content of `vae/config.json`.
    pub vae_config: &'static str,
    /// The VAE's safetensors file.
    pub vae: &'static [u8],
    /// Content of `text_encoder/config.json`.
    pub text_encoder_config: &'static str,
    /// The text encoder's safetensors file.
    pub text_encoder: &'static [u8],
    /// Content of `scheduler/scheduler_config.json`.
    pub scheduler_config: &'static str,
    /// Content of `tokenizer/tokenizer.json`.
    pub tokenizer: &'static [u8],
}

impl Checkpoint {
    /// Opens a checkpoint in any of its layouts.
    ///
    /// # Errors
    /// Returns the errors of [`CheckpointPaths::discover`] and [`open_paths`](Self::open_paths).
    pub fn open(folder: impl AsRef<Path>) -> Result<Self> {
        Self::open_paths(&CheckpointPaths::discover(folder)?)
    }

    /// Opens the parts of a checkpoint. Each part's naming is detected from its keys, so that parts
    /// of different layouts can be combined.
    ///
    /// # Errors
    /// Returns an error with the file's name if a file does not exist, is not a weights file, has
    /// an unknown naming, or has an invalid configuration.
    pub fn open_paths(paths: &CheckpointPaths) -> Result<Self> {
        let part = |path: &Path| -> Result<(Option<(PathBuf, String)>, TensorSource)> {
            if !path.exists() {
                return Err(OvisImageError::not_found(
                    path,
                    "a weights file or a folder with one was expected here",
                ));
            }
            Ok((sibling_config(path)?, TensorSource::open(path)?))
        };
        let (transformer_json, transformer) = part(&paths.transformer)?;
        let (vae_json, vae) = part(&paths.vae)?;
        let (text_encoder_json, text_encoder) = part(&paths.text_encoder)?;
        let scheduler = match &paths.scheduler {
            Some(path) => scheduler_config(path, &read_config(path)?)?,
            None => SchedulerConfig::ovis_image_7b(),
        };
        let tokenizer = if paths.tokenizer.is_dir() {
            paths.tokenizer.join(TOKENIZER_FILE)
        } else {
            paths.tokenizer.clone()
        };
        check_tokenizer(&tokenizer)?;
        Self::assemble(
            (given(transformer_json)?, transformer),
            (given(vae_json)?, vae),
            (given(text_encoder_json)?, text_encoder),
            scheduler,
            TokenizerFile::Path(tokenizer),
        )
    }

    /// Opens a checkpoint that is embedded in the program.
    ///
    /// # Errors
    /// Returns the errors of [`open_paths`](Self::open_paths).
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
            scheduler_config(
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
        let vae = &checkpoint.vae.config;
        let text_encoder = &checkpoint.text_encoder.config;
        checkpoint
            .transformer
            .config
            .validate_with(vae, text_encoder)?;
        Ok(checkpoint)
    }

    /// Returns the transformer's configuration, as read or inferred.
    pub fn transformer_config(&self) -> &TransformerConfig {
        &self.transformer.config
    }

    /// Returns the VAE's configuration, as read or inferred.
    pub fn vae_config(&self) -> &VaeConfig {
        &self.vae.config
    }

    /// Returns the text encoder's configuration, as read or inferred.
    pub fn text_encoder_config(&self) -> &TextEncoderConfig {
        &self.text_encoder.config
    }

    /// Returns the path of the tokenizer's file; `None` if it is embedded in the program.
    pub fn tokenizer_path(&self) -> Option<&Path> {
        match &self.tokenizer {
            TokenizerFile::Path(path) => Some(path),
            TokenizerFile::Static(_) => None,
        }
    }

    /// Returns the scheduler's configuration.
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
    let naming: TextEncoderNaming = infer::text_encoder_naming(&source);
    let config = match config.map_or_else(|| carried(&source), |config| Ok(Some(config)))? {
        Some(config) => config,
        None => infer::text_encoder_config(&source, naming)?,
    };
    config.validate()?;
    let table = NameTable::text_encoder(naming);
    Ok(Part {
        config,
        source: Arc::new(source),
        table,
    })
}

/// Reads the configuration in a file's metadata.
fn carried<C: DeserializeOwned>(source: &TensorSource) -> Result<Option<C>> {
    let text = source.metadata(CONFIG_METADATA);
    text.map(|text| parse(source.path(), text)).transpose()
}

/// Reads the configuration in a part's folder, or the one beside a file: `vae_config.json` for
/// `vae.bpk`.
fn sibling_config(path: &Path) -> Result<Option<(PathBuf, String)>> {
    let config = if path.is_dir() {
        Some(path.join(CONFIG_FILE))
    } else {
        config_beside(path)
    };
    let Some(config) = config.filter(|config| is_named(config)) else {
        return Ok(None);
    };
    let text = read_config(&config)?;
    Ok(Some((config, text)))
}

/// Returns the path of a single file's configuration, if its format has one.
pub(super) fn config_beside(weights: &Path) -> Option<PathBuf> {
    let stem = weights.file_stem()?.to_str()?;
    Some(weights.with_file_name(format!("{stem}{}", burnpack::CONFIG_SUFFIX)))
}

fn given<C: DeserializeOwned>(json: Option<(PathBuf, String)>) -> Result<Option<C>> {
    json.map(|(path, text)| parse(&path, &text)).transpose()
}

fn read_config(path: &Path) -> Result<String> {
    read_small_text(path, CONFIG_FORMAT, MAX_CONFIG_BYTES)
}

/// Parses the configuration of a scheduler, which may name its class.
fn scheduler_config(path: &Path, text: &str) -> Result<SchedulerConfig> {
    #[derive(serde::Deserialize)]
    struct Class {
        #[serde(rename = "_class_name")]
        name: Option<String>,
    }
    match parse::<Class>(path, text)?.name {
        Some(class) if class != SchedulerConfig::CLASS => Err(CheckpointError::UnsupportedClass {
            path: path.to_owned(),
            class,
            supported: SchedulerConfig::CLASS,
        }
        .into()),
        _ => parse(path, text),
    }
}

/// Checks that a tokenizer can be read, which happens later and on another thread.
fn check_tokenizer(path: &Path) -> Result<()> {
    if !is_named(path) {
        return Err(OvisImageError::not_found(
            path,
            "prompts cannot be tokenized without the tokenizer's tokenizer.json",
        ));
    }
    let metadata = std::fs::metadata(path).map_err(|error| OvisImageError::io(path, error))?;
    if metadata.is_file() {
        return Ok(());
    }
    Err(OvisImageError::invalid_file(
        path,
        "tokenizer",
        "it is not a regular file",
    ))
}

fn parse<C: DeserializeOwned>(path: &Path, text: &str) -> Result<C> {
    serde_json::from_str(text).map_err(|error| {
        OvisImageError::invalid_file_because(path, CONFIG_FORMAT, "it cannot be parsed", error)
    })
}
