//! Runs training from the settings to the end.

mod lora;

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use burn::module::Module;
use burn::tensor::backend::Backend;
use ovis_image::Checkpoint;
use ovis_image::device::BackendVisitor;
use ovis_image::training::{Autoencoding, FlowMatching, ImageModels, parameter_shapes};
use tempfile::TempDir;

use super::RunArguments;
use super::autoencoder::{AutoencoderStage, PixelSource};
use super::data::TrainingData;
use super::encoding::{Encoding, tokens_of};
use super::error::TrainError;
use super::flow::{FlowStage, character_head};
use super::flow_source::{FlowImages, FlowSource};
use super::folder::RunFolder;
use super::looping::{Ending, RunContext, train};
use super::models::{ModelUse, Models};
use super::plan::{Plan, TrainedSizes};
use super::replay::{ReplayFile, ReplaySource};
use super::resolved::Resolved;
use super::settings::StageKind;
use super::signals::Signals;
use crate::shared::program::print;
use crate::shared::terminal::say;
use crate::shared::usage::UsageError;
use crate::training_data::cache::ModelHashes;

/// Checked run.
#[derive(Debug)]
pub struct Train {
    resolved: Resolved,
    /// Data that is read; `None` if images are drawn.
    data: Option<TrainingData>,
    folder: RunFolder,
    signals: Signals,
    /// Folder in which a dry run makes models.
    dry: Option<TempDir>,
}

impl Train {
    /// Checks the settings and locks the folder.
    ///
    /// # Errors
    /// Returns an error if the folder contains another run, or one that was not to be resumed.
    pub fn prepare(arguments: &RunArguments, mut resolved: Resolved) -> Result<Self> {
        if resolved.stage == StageKind::Autoencoder {
            ensure!(
                resolved.lora.is_none(),
                UsageError::new("adapters are for the transformer: they need --stage flow")
            );
            ensure!(
                resolved.replay.is_none(),
                UsageError::new("--replay has batches for the transformer: it needs --stage flow")
            );
        }
        let data = TrainingData::open(&resolved)?;
        if let Some(data) = &data {
            let buckets = data.buckets().into_iter();
            (resolved.sizes, resolved.size_shares) = buckets
                .map(|([width, height], share)| (format!("{width}x{height}"), share))
                .unzip();
            resolved.data_hash = Some(data.hash());
            if let Some(epochs) = resolved.epochs {
                let batch = resolved.batch_size as f64 * f64::from(resolved.accumulation);
                let steps = data.images_per_epoch() * f64::from(epochs) / batch;
                resolved.steps = (steps.ceil() as u64).max(1);
            }
        }
        let dry = arguments.dry_run.then(tempfile::tempdir).transpose()?;
        let path = match &dry {
            Some(dry) => dry.path().to_owned(),
            None => resolved.folder(),
        };
        resolved.check_adapter()?;
        let folder = RunFolder::open(&path)?;
        if let Some(before) = folder.settings()? {
            if !arguments.resume {
                bail!(TrainError::ExistingRun {
                    folder: path.clone()
                });
            }
            let differences = resolved.differences(&before).join("\n");
            if !differences.is_empty() {
                if !arguments.accept_changes {
                    bail!(TrainError::Changed { differences });
                }
                say(&format!("the settings change:\n{differences}"));
            }
        }
        Ok(Self {
            resolved,
            data,
            folder,
            signals: Signals::listen()?,
            dry,
        })
    }

    /// Prints the plan of a dry run, or checks the disk space. Returns true if the run starts.
    fn starts<B: Backend, M: Module<B>>(&self, base: &Models<B>, models: &M) -> Result<bool> {
        let mut shapes = parameter_shapes(models);
        let optimizer = self.resolved.optimizer_config();
        let all = TrainedSizes::of(&optimizer, &shapes).parameters;
        if self.resolved.stage == StageKind::Autoencoder && !self.resolved.train_encoder {
            shapes.retain(|path, _| path.starts_with("decoder."));
        }
        let sizes = TrainedSizes::of(&optimizer, &shapes);
        // Parts that are not trained are in f32, as the others are.
        let untrained_bytes = 4 * (all - sizes.parameters);
        let plan = Plan {
            resolved: &self.resolved,
            trained: sizes,
            model_bytes: base.bytes(),
            frozen_bytes: base.frozen_bytes(&self.resolved)? + untrained_bytes,
        };
        if self.dry.is_some() {
            print(format!("{plan}\n").as_bytes())?;
            return Ok(false);
        }
        plan.check_disk(self.folder.path())?;
        Ok(true)
    }

    /// Writes the settings. A run starts with this: what fails before leaves no run behind.
    fn write_settings(&self) -> Result<()> {
        let settings = serde_json::to_value(&self.resolved)?;
        self.folder.write_settings(&settings)
    }

    /// Returns the number of batches of the run.
    fn batches(&self) -> u64 {
        let accumulation = u64::from(self.resolved.accumulation);
        self.resolved.steps.saturating_mul(accumulation)
    }

    fn context(&self) -> RunContext<'_> {
        RunContext {
            resolved: &self.resolved,
            folder: &self.folder,
            signals: &self.signals,
        }
    }
}

impl BackendVisitor for Train {
    type Output = Result<Ending>;

    fn visit<B: Backend>(self, device: B::Device) -> Result<Ending> {
        let use_of_models = match self.dry {
            Some(_) => ModelUse::Plan,
            None => ModelUse::Training,
        };
        let base = Models::<B>::open(&self.resolved, &self.folder, use_of_models, &device)?;
        if let Some(cache) = self.data.as_ref().and_then(TrainingData::cache) {
            let checkpoint = Checkpoint::open_paths(&base.source.paths)?;
            let models = ModelHashes::of(&checkpoint).context("cannot hash the model's files")?;
            cache.check_models(&models)?;
        }
        if let Some(lora) = &self.resolved.lora {
            return self.lora::<B>(base, lora, &device);
        }
        match (&self.resolved.replay, self.resolved.stage) {
            (Some(path), _) => self.replay::<B>(base, path, &device),
            (None, StageKind::Flow) => self.flow::<B>(base, &device),
            (None, StageKind::Autoencoder) => self.autoencoder::<B>(base, &device),
        }
    }
}

impl Train {
    fn replay<B: Backend>(
        &self,
        base: Models<B>,
        path: &Path,
        device: &B::Device,
    ) -> Result<Ending> {
        let file = ReplayFile::open(path, self.batches())?;
        let models = ImageModels {
            transformer: base.transformer.clone(),
            text_encoder: None,
            auxiliary: None,
        };
        if !self.starts(&base, &models)? {
            return Ok(Ending::Finished);
        }
        self.write_settings()?;
        let stage = FlowStage::replayed(&self.resolved, base.source, device);
        let objective = FlowMatching::new(self.resolved.flow_matching());
        let source = ReplaySource {
            file,
            device: device.clone(),
        };
        train::<B, _, _>(&self.context(), stage, models, objective, &source, device)
    }

    fn flow<B: Backend>(&self, base: Models<B>, device: &B::Device) -> Result<Ending> {
        let resolved = &self.resolved;
        self.check_inputs(&base)?;
        let trains_encoder = resolved.train_text_encoder;
        let encoders = base.encoders()?;
        let head = |weight: f64| {
            let hidden = base.source.transformer_config.hidden_size();
            (weight > 0.0)
                .then(|| character_head::<B>(resolved, hidden, device))
                .transpose()
        };
        let models = ImageModels {
            transformer: base.transformer.clone(),
            text_encoder: trains_encoder.then(|| encoders.text_encoder.clone()),
            auxiliary: head(resolved.auxiliary_weight)?,
        };
        if !self.starts(&base, &models)? {
            return Ok(Ending::Finished);
        }
        let encoding = Encoding {
            vae: encoders.vae.clone(),
            tokenizer: encoders.tokenizer.clone(),
            text_encoder: (!trains_encoder).then(|| encoders.text_encoder.clone()),
            text_rows: resolved.max_sequence_length,
            characters: models.auxiliary.is_some(),
            device: device.clone(),
        };
        let images = FlowImages::new(self.data.as_ref(), encoding)?;
        let stage = FlowStage::new(resolved, &images, base.source, device)?;
        let source = FlowSource::new(resolved, images)?;
        self.write_settings()?;
        let objective = FlowMatching::new(resolved.flow_matching());
        train::<B, _, _>(&self.context(), stage, models, objective, &source, device)
    }

    fn autoencoder<B: Backend>(&self, base: Models<B>, device: &B::Device) -> Result<Ending> {
        let resolved = &self.resolved;
        self.check_inputs(&base)?;
        let model = base.encoders()?.vae.clone();
        if !self.starts(&base, &model)? {
            return Ok(Ending::Finished);
        }
        let base = base.source;
        let source = PixelSource::<B>::new(resolved, self.data.as_ref(), &base.vae_config, device)?;
        let stage = AutoencoderStage::new(resolved, self.data.as_ref(), base, device)?;
        self.write_settings()?;
        let objective = Autoencoding::new(resolved.autoencoding());
        train::<B, _, _>(&self.context(), stage, model, objective, &source, device)
    }

    /// Checks the sizes of images, and that the captions that are read fit the text rows.
    fn check_inputs<B: Backend>(&self, base: &Models<B>) -> Result<()> {
        let multiple = base.size_multiple();
        for [width, height] in self.resolved.buckets()? {
            let fits = |side: u32| (side as usize).is_multiple_of(multiple);
            if !fits(width) || !fits(height) {
                bail!(TrainError::Size {
                    width,
                    height,
                    multiple
                });
            }
        }
        let (rows, stage) = (self.resolved.max_sequence_length, self.resolved.stage);
        match &self.data {
            Some(data) if stage == StageKind::Flow => {
                let tokenizer = &base.encoders()?.tokenizer;
                data.check_captions(rows, |caption| {
                    tokens_of(tokenizer, caption, rows).map(drop)
                })
            }
            _ => Ok(()),
        }
    }
}
