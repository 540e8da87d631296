//! Which model to run, from the command line.

use std::path::PathBuf;

use anyhow::{Result, bail};
use burn::tensor::backend::Backend;
use clap::Args;
use ovis_image::checkpoint::PartPaths;
use ovis_image::kernels::BackendInfo;
use ovis_image::{Checkpoint, CheckpointPaths, WeightDtype};

use crate::shared::hub::HubArguments;
use crate::shared::tiny;

/// The arguments that choose a model; none of them chooses the embedded one.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArguments {
    /// Checkpoint folder (diffusers, the authors' files or ComfyUI's split files) or a repository of
    /// the Hub, `owner/name[@revision]`. Without it the small untrained model in this program is
    /// used, whose picture is noise
    #[arg(long, value_name = "DIR or owner/name")]
    pub model: Option<PathBuf>,
    /// Transformer, in place of the folder's: a safetensors, GGUF or burnpack file or a folder; like the other
    /// parts, also a file of the Hub, `hf:owner/name/FILE`
    #[arg(long, value_name = "PATH")]
    pub transformer: Option<PathBuf>,
    /// VAE, in place of the folder's
    #[arg(long, value_name = "PATH")]
    pub vae: Option<PathBuf>,
    /// Text encoder, in place of the folder's
    #[arg(long, value_name = "PATH")]
    pub text_encoder: Option<PathBuf>,
    /// Tokenizer, in place of the folder's: a tokenizer.json or its folder
    #[arg(long, value_name = "PATH")]
    pub tokenizer: Option<PathBuf>,
    /// How the Hub is reached.
    #[command(flatten)]
    pub hub: HubArguments,
}

/// A model that was chosen.
#[derive(Debug, Clone)]
pub enum Model {
    /// The embedded one.
    Tiny,
    /// One in files.
    Files {
        /// What to call it: the path that was given.
        name: String,
        /// The folder that it is in, unless all of its parts were given.
        folder: Option<PathBuf>,
        /// Where its parts are.
        paths: CheckpointPaths,
    },
}

impl ModelArguments {
    /// Whether any of them was given.
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

    /// Finds the files, and downloads what is not here; nothing is read yet.
    ///
    /// # Errors
    /// The library's for a folder that is no checkpoint and for a download that fails, and one that
    /// names the missing arguments when only some parts are given.
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
            _ if given == PartPaths::default() => Ok(Model::Tiny),
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
                bail!(
                    "some parts of the model are given, but not {}: add them, or a folder with --model",
                    missing.join(", ")
                )
            }
        }
    }
}

impl Model {
    /// What to call it.
    pub fn name(&self) -> &str {
        match self {
            Self::Tiny => "embedded tiny model",
            Self::Files { name, .. } => name,
        }
    }

    /// Sides in pixels and steps, unless asked otherwise.
    pub fn default_size_and_steps(&self) -> (usize, usize) {
        match self {
            Self::Tiny => (tiny::SIDE, tiny::STEPS),
            Self::Files { .. } => (1024, 50),
        }
    }

    /// The element type unless asked otherwise: the release's bf16 or the next best that the device
    /// has; f32 for the tiny model on a CPU, where it is the quickest.
    pub fn default_dtype<B: Backend>(&self, device: &B::Device) -> WeightDtype {
        let on_cpu = BackendInfo::of::<B>().uses_host_memory;
        if on_cpu && matches!(self, Self::Tiny) {
            return WeightDtype::F32;
        }
        [WeightDtype::BF16, WeightDtype::F16]
            .into_iter()
            .find(|dtype| B::supports_dtype(device, dtype.to_burn()))
            .unwrap_or(WeightDtype::F32)
    }

    /// Opens the files and reads their headers and configurations; no weight is read yet.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open_paths`].
    pub fn open(&self) -> Result<Checkpoint> {
        Ok(match self {
            Self::Tiny => Checkpoint::open_embedded(&tiny::TINY)?,
            Self::Files { paths, .. } => Checkpoint::open_paths(paths)?,
        })
    }
}
