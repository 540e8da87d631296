//! Models of a run: read from a checkpoint, or made from configurations.

use std::path::Path;

use anyhow::{Context, Result};
use burn::tensor::backend::Backend;
use ovis_image::checkpoint::{ExportOptions, PartPaths};
use ovis_image::config::{TextEncoderConfig, TransformerConfig, VaeConfig};
use ovis_image::parameters::{Parameter, ParameterRole};
use ovis_image::text_encoder::{PromptTokenizer, TextEncoder};
use ovis_image::training::{TrainedParts, initialize};
use ovis_image::transformer::OvisImageTransformer;
use ovis_image::vae::AutoencoderKl;
use ovis_image::{
    Checkpoint, CheckpointPaths, Layout, LoadOptions, OvisImagePipeline, Quantization, Residency,
    WeightDtype,
};
use serde::de::DeserializeOwned;

use super::folder::RunFolder;
use super::resolved::{Resolved, part_of};
use super::settings::StageKind;
use crate::shared::hub::HubArguments;
use crate::shared::input_file;
use crate::shared::terminal::shown;

/// Checkpoint that a run starts from, and the configurations of its models.
#[derive(Debug, Clone)]
pub struct Source {
    /// Files, which also contain the parts that are not trained.
    pub paths: CheckpointPaths,
    /// Configuration of the transformer.
    pub transformer_config: TransformerConfig,
    /// Configuration of the text encoder.
    pub text_encoder_config: TextEncoderConfig,
    /// Configuration of the VAE.
    pub vae_config: VaeConfig,
}

/// Use of the models that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelUse {
    /// Training.
    Training,
    /// Their shapes, for a plan.
    Plan,
}

/// Models that a run starts from.
#[derive(Debug, Clone)]
pub struct Models<B: Backend> {
    /// Their source.
    pub source: Source,
    /// Transformer.
    pub transformer: OvisImageTransformer<B>,
    /// Models of images and captions; `None` if batches were recorded.
    encoders: Option<Encoders<B>>,
}

/// Models that encode images and captions.
#[derive(Debug, Clone)]
pub struct Encoders<B: Backend> {
    /// Text encoder.
    pub text_encoder: TextEncoder<B>,
    /// VAE.
    pub vae: AutoencoderKl<B>,
    /// Tokenizer.
    pub tokenizer: PromptTokenizer,
}

/// Name of the folder with the initial parameters of a run from configurations.
const INITIAL: &str = "initial";

impl<B: Backend> Models<B> {
    /// Reads the models that a run starts from. Makes them first if the run starts from
    /// configurations and has not made them before. For a plan alone, weights stay in their files.
    ///
    /// # Errors
    /// Returns the errors of reading a checkpoint or configurations.
    pub fn open(
        resolved: &Resolved,
        folder: &RunFolder,
        use_of_models: ModelUse,
        device: &B::Device,
    ) -> Result<Self> {
        let paths = match (&resolved.model, &resolved.from_configs) {
            (Some(model), _) => CheckpointPaths::discover_with(
                HubArguments::default().folder(model)?,
                &PartPaths {
                    vae: resolved.vae.as_deref().map(|path| part_of(path, "vae")),
                    text_encoder: given_text_encoder(resolved),
                    ..PartPaths::default()
                },
            )?,
            (None, configs) => {
                let initial = folder.model(INITIAL);
                if !initial.exists() {
                    let configs = configs.clone().unwrap_or_default();
                    make::<B>(resolved, &configs, &initial, device)?;
                }
                CheckpointPaths::discover(&initial)?
            }
        };
        Self::read(paths, resolved, use_of_models, device)
    }

    fn read(
        paths: CheckpointPaths,
        resolved: &Resolved,
        use_of_models: ModelUse,
        device: &B::Device,
    ) -> Result<Self> {
        let checkpoint = Checkpoint::open_paths(&paths)?;
        // What a cache replaces stays in its file.
        let text_encoder = if resolved.reads_cache() {
            Residency::File
        } else {
            Residency::Device
        };
        let options = LoadOptions::new()
            // Trained parameters are changed, and their files may be replaced. Those under adapters
            // are neither.
            .with_in_place(resolved.lora.is_some())
            .with_dtype(resolved.weight_dtype()?)
            .with_text_encoder_residency(text_encoder)
            .with_vae_dtype(WeightDtype::F32);
        let options = match (&resolved.lora, use_of_models) {
            (_, ModelUse::Plan) => options
                .with_in_place(true)
                .with_streamed_blocks(usize::MAX)
                .with_modulation_residency(Residency::File)
                .with_text_encoder_residency(Residency::File),
            (Some(lora), ModelUse::Training) => lora.base_options(options),
            (None, ModelUse::Training) => options,
        };
        let (transformer, encoders) = if resolved.replay.is_some() {
            let transformer = OvisImageTransformer::from_checkpoint(&checkpoint, &options, device)?;
            (transformer, None)
        } else {
            let pipeline = OvisImagePipeline::<B>::from_checkpoint(&checkpoint, options, device)?;
            let vae = if resolved.reads_cache() {
                // Never used, and so never allocated.
                checkpoint.vae_config().init(device)
            } else {
                pipeline.vae().clone()
            };
            let encoders = Encoders {
                text_encoder: pipeline.text_encoder().clone(),
                vae,
                tokenizer: pipeline.tokenizer()?.clone(),
            };
            (pipeline.transformer().clone(), Some(encoders))
        };
        let source = Source {
            transformer_config: checkpoint.transformer_config().clone(),
            text_encoder_config: checkpoint.text_encoder_config().clone(),
            vae_config: checkpoint.vae_config().clone(),
            paths,
        };
        Ok(Self {
            source,
            transformer,
            encoders,
        })
    }

    /// Returns the models of images and captions.
    ///
    /// # Errors
    /// Returns an error if they were not read.
    pub fn encoders(&self) -> Result<&Encoders<B>> {
        let read = self.encoders.as_ref();
        read.context("text encoder and VAE are not read for recorded batches")
    }

    /// Returns the size of all parameters in f32, in bytes.
    pub fn bytes(&self) -> u64 {
        let [transformer, text_encoder, vae] = self.sizes();
        4 * (transformer + text_encoder + vae)
    }

    /// Returns the size of the parameters in memory that are not trained, in bytes. The text encoder
    /// and the VAE count only if they encode during training.
    ///
    /// # Errors
    /// Returns an error if the dtype of the settings cannot be used.
    pub fn frozen_bytes(&self, resolved: &Resolved) -> Result<u64> {
        if resolved.stage == StageKind::Autoencoder {
            return Ok(0);
        }
        let each = resolved.weight_dtype()?.to_burn().size() as u64;
        let [_, text_encoder, vae] = self.sizes();
        let encoders = if resolved.encodes_first() || resolved.reads_cache() {
            0
        } else if resolved.train_text_encoder {
            4 * vae
        } else {
            each * text_encoder + 4 * vae
        };
        let Some(lora) = &resolved.lora else {
            return Ok(encoders);
        };
        let streamed = lora.stream_blocks.unwrap_or(0);
        let bytes = |parameter: Parameter| {
            let elements = parameter.elements();
            match parameter.role {
                // Blocks of 32 with an f16 scale.
                ParameterRole::BlockMatrix(_) => match lora.quantize {
                    Some(Quantization::Q8_0) => elements * 34 / 32,
                    Some(Quantization::Q4_0) => elements * 18 / 32,
                    _ => elements * each,
                },
                _ => elements * each,
            }
        };
        let config = &self.source.transformer_config;
        let blocks = config.num_layers + config.num_single_layers;
        let kept = blocks.saturating_sub(streamed) as u64;
        let (mut in_blocks, mut others) = (0, 0);
        for parameter in config.parameters() {
            let sum = match parameter.role.block() {
                Some(_) => &mut in_blocks,
                None => &mut others,
            };
            *sum += bytes(parameter);
        }
        Ok(encoders + others + in_blocks * kept / blocks.max(1) as u64)
    }

    /// Returns the numbers of parameters of the transformer, the text encoder and the VAE. Those of
    /// models that are not read count as none.
    fn sizes(&self) -> [u64; 3] {
        // The configurations say it too, and reading the models would load what stays in files.
        let size = |parameters: Vec<Parameter>| -> u64 {
            let sizes = parameters.iter().map(|parameter| {
                let sides = parameter.shape.iter().map(|side| *side as u64);
                sides.product::<u64>()
            });
            sizes.sum()
        };
        let read = |parameters: Vec<Parameter>| match &self.encoders {
            Some(_) => size(parameters),
            None => 0,
        };
        [
            size(self.source.transformer_config.parameters()),
            read(self.source.text_encoder_config.parameters()),
            read(self.source.vae_config.parameters()),
        ]
    }

    /// Returns the number that image sides must be a multiple of: a patch of 2x2 latents.
    pub fn size_multiple(&self) -> usize {
        2 * self.source.vae_config.scale_factor()
    }
}

fn given_text_encoder(resolved: &Resolved) -> Option<std::path::PathBuf> {
    let given = resolved.text_encoder.as_deref();
    given.map(|path| part_of(path, "text_encoder"))
}

/// Writes a checkpoint with initial parameters. Parts that are given are copied.
fn make<B: Backend>(
    resolved: &Resolved,
    configs: &Path,
    folder: &Path,
    device: &B::Device,
) -> Result<()> {
    let scheduler = configs.join("scheduler").join("scheduler_config.json");
    let vae_path = resolved.vae.as_deref().map(|path| part_of(path, "vae"));
    let encoder_path = given_text_encoder(resolved);
    let transformer_config: TransformerConfig = config(configs, "transformer")?;
    let vae_config: VaeConfig = match &vae_path {
        Some(path) => config_of(&path.join("config.json"))?,
        None => config(configs, "vae")?,
    };
    let encoder_config: TextEncoderConfig = match &encoder_path {
        Some(path) => config_of(&path.join("config.json"))?,
        None => config(configs, "text_encoder")?,
    };
    transformer_config.validate()?;
    vae_config.validate()?;
    encoder_config.validate()?;
    transformer_config.validate_with(&vae_config, &encoder_config)?;
    let seed = resolved.seed;
    let transformer = initialize(
        transformer_config.init::<B>(device),
        &transformer_config.parameters(),
        seed,
    )?;
    let vae = initialize(vae_config.init::<B>(device), &vae_config.parameters(), seed)?;
    let encoder = initialize(
        encoder_config.init::<B>(device),
        &encoder_config.parameters(),
        seed,
    )?;
    let parts = TrainedParts {
        transformer: Some((&transformer, &transformer_config)),
        vae: vae_path.is_none().then_some((&vae, &vae_config)),
        text_encoder: encoder_path
            .is_none()
            .then_some((&encoder, &encoder_config)),
    };
    let base = CheckpointPaths {
        transformer: configs.join("transformer"),
        vae: vae_path.unwrap_or_else(|| configs.join("vae")),
        text_encoder: encoder_path.unwrap_or_else(|| configs.join("text_encoder")),
        tokenizer: configs.join("tokenizer"),
        scheduler: scheduler.exists().then_some(scheduler),
    };
    parts.export(&base, folder, &ExportOptions::new(Layout::Diffusers))?;
    Ok(())
}

fn config<C: DeserializeOwned>(folder: &Path, part: &str) -> Result<C> {
    config_of(&folder.join(part).join("config.json"))
}

/// Maximum size of a configuration file, in bytes.
const MOST_BYTES: u64 = 1 << 20;

fn config_of<C: DeserializeOwned>(path: &Path) -> Result<C> {
    let text = input_file::read(path, MOST_BYTES)
        .with_context(|| format!("cannot read the configuration {}", shown(path)))?;
    serde_json::from_slice(&text)
        .with_context(|| format!("{} is not the configuration of a model", shown(path)))
}
