//! The model from the command line.

use std::path::PathBuf;

use anyhow::{Result, bail};
use burn::tensor::backend::Backend;
use clap::Args;
use ovis_image::checkpoint::PartPaths;
use ovis_image::kernels::BackendInfo;
use ovis_image::{Checkpoint, CheckpointPaths, GenerationRequest, WeightDtype};

use super::hub::HubArguments;
use super::record::hashes::of_weights;
use super::usage::UsageError;
use super::{embedded, headings};

/// The arguments that choose a model. Without any of them it is the embedded one.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = headings::MODEL_PARTS)]
pub struct ModelArguments {
    /// Checkpoint folder, or owner/name on the Hub
    ///
    /// A folder has diffusers' layout, the authors' files, ComfyUI's split files or Burn's files.
    /// After the name of a repository on the Hugging Face Hub, a revision may follow:
    /// owner/name@revision. The default is a small embedded model, which draws signs with a short
    /// word.
    #[arg(short, long, value_name = "DIR", help_heading = None::<&'static str>, display_order = 2)]
    pub model: Option<PathBuf>,
    /// Transformer that replaces the folder's
    ///
    /// A part is a safetensors, GGUF or burnpack file, a folder, or a file of the Hub:
    /// hf:owner/name/FILE.
    #[arg(long, value_name = "PATH")]
    pub transformer: Option<PathBuf>,
    /// VAE that replaces the folder's
    #[arg(long, value_name = "PATH", hide_short_help = true)]
    pub vae: Option<PathBuf>,
    /// Text encoder that replaces the folder's
    #[arg(long, value_name = "PATH", hide_short_help = true)]
    pub text_encoder: Option<PathBuf>,
    /// Tokenizer that replaces the folder's: a tokenizer.json, or the folder that contains it
    #[arg(long, value_name = "PATH", hide_short_help = true)]
    pub tokenizer: Option<PathBuf>,
    /// Access to the Hub.
    #[command(flatten)]
    pub hub: HubArguments,
}

/// A chosen model.
#[derive(Debug, Clone)]
pub enum Model {
    /// The embedded model.
    Embedded,
    /// A model in files.
    Files {
        /// Name to show: the path that was given.
        name: String,
        /// Folder of the checkpoint, unless all parts were given one by one.
        folder: Option<PathBuf>,
        /// Paths of the parts.
        paths: CheckpointPaths,
    },
}

impl ModelArguments {
    /// Returns whether any of the arguments was given.
    pub fn is_given(&self) -> bool {
        let parts = [
            &self.model,
            &self.transformer,
            &self.vae,
            &self.text_encoder,
            &self.tokenizer,
        ];
        parts.into_iter().any(Option::is_some)
    }

    /// Sets a request to the defaults of the model: those of the release, or of the embedded one.
    pub fn with_defaults(&self, request: GenerationRequest) -> GenerationRequest {
        if self.is_given() {
            request.with_size(1024, 1024).with_num_inference_steps(50)
        } else {
            embedded::with_defaults(request)
        }
    }

    /// Finds the files and downloads missing ones. Reads nothing yet.
    ///
    /// # Errors
    /// Returns the library's error if a folder is not a checkpoint or a download fails, and an
    /// error that names the missing arguments if only some parts are given.
    pub fn resolve(&self) -> Result<Model> {
        let part = |path: &Option<PathBuf>| {
            let path = path.as_deref();
            path.map(|path| self.hub.file(path)).transpose()
        };
        let given = PartPaths {
            transformer: part(&self.transformer)?,
            vae: part(&self.vae)?,
            text_encoder: part(&self.text_encoder)?,
            tokenizer: part(&self.tokenizer)?,
        };
        if let Some(model) = &self.model {
            let folder = self.hub.folder(model)?;
            return Ok(Model::Files {
                name: model.display().to_string(),
                paths: CheckpointPaths::discover_with(&folder, &given)?,
                folder: Some(folder),
            });
        }
        match given {
            PartPaths {
                transformer: Some(transformer),
                vae: Some(vae),
                text_encoder: Some(text_encoder),
                tokenizer: Some(tokenizer),
            } => Ok(Model::Files {
                name: transformer.display().to_string(),
                folder: None,
                paths: CheckpointPaths {
                    transformer,
                    vae,
                    text_encoder,
                    tokenizer,
                    scheduler: None,
                },
            }),
            _ if given == PartPaths::default() => Ok(Model::Embedded),
            _ => {
                let missing: Vec<&str> = [
                    ("--transformer", &given.transformer),
                    ("--vae", &given.vae),
                    ("--text-encoder", &given.text_encoder),
                    ("--tokenizer", &given.tokenizer),
                ]
                .into_iter()
                .filter_map(|(flag, path)| path.is_none().then_some(flag))
                .collect();
                bail!(UsageError(format!(
                    "some parts of the model are given, but not {}: add them, or a folder with --model",
                    missing.join(", ")
                )))
            }
        }
    }
}

impl Model {
    /// Returns the name to show.
    pub fn name(&self) -> &str {
        match self {
            Self::Embedded => "embedded model",
            Self::Files { name, .. } => name,
        }
    }

    /// Returns the default dtype: bf16, as the release has it, or the next best that the device
    /// supports. On a CPU the embedded model is fastest in f32.
    pub fn default_dtype<B: Backend>(&self, device: &B::Device) -> WeightDtype {
        let info = BackendInfo::of::<B>(device);
        if info.prefers_f32 || (info.uses_host_memory && matches!(self, Self::Embedded)) {
            return WeightDtype::F32;
        }
        [WeightDtype::BF16, WeightDtype::F16]
            .into_iter()
            .find(|dtype| B::supports_dtype(device, dtype.to_burn()))
            .unwrap_or(WeightDtype::F32)
    }

    /// Returns a hash of an opened model's weights and tokenizer, in milliseconds; `None` for the
    /// embedded model.
    ///
    /// # Errors
    /// Returns the system's error if a file cannot be read.
    pub fn hash(checkpoint: &Checkpoint) -> std::io::Result<Option<String>> {
        let Some(tokenizer) = checkpoint.tokenizer_path() else {
            return Ok(None);
        };
        let bytes = std::fs::metadata(tokenizer)?.len();
        let parts = checkpoint.inspect();
        let weights = parts.into_iter().flat_map(|part| part.files);
        of_weights(weights.chain([(tokenizer.to_owned(), bytes)])).map(Some)
    }

    /// Opens the files and reads their headers and configurations, but no weights.
    ///
    /// # Errors
    /// Returns the errors of [`Checkpoint::open_paths`].
    pub fn open(&self) -> Result<Checkpoint> {
        Ok(match self {
            Self::Embedded => Checkpoint::open_embedded(&embedded::EMBEDDED)?,
            Self::Files { paths, .. } => Checkpoint::open_paths(paths)?,
        })
    }
}
