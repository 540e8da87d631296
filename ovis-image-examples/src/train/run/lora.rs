//! Runs of adapters.

use anyhow::Result;
use burn::tensor::backend::Backend;
use ovis_image::training::{LoraFlowMatching, parameter_shapes};

use super::Train;
use crate::shared::program::{print, say};
use crate::train::encoding::Encoding;
use crate::train::flow::FlowStage;
use crate::train::flow_source::{FlowImages, FlowSource};
use crate::train::looping::{Ending, train};
use crate::train::lora::LoraStage;
use crate::train::lora_metadata::metadata;
use crate::train::lora_settings::LoraSettings;
use crate::train::models::Models;
use crate::train::plan::{Plan, TrainedSizes};
use crate::train::replay::{ReplayFile, ReplaySource};

impl Train {
    pub(super) fn lora<B: Backend>(
        &self,
        base: Models<B>,
        settings: &LoraSettings,
        device: &B::Device,
    ) -> Result<Ending> {
        let resolved = &self.resolved;
        let replay = match &resolved.replay {
            Some(path) => Some(ReplayFile::open(path, self.batches())?),
            None => {
                self.check_inputs(&base)?;
                None
            }
        };
        let adapters = settings.adapters(resolved.seed, &base.transformer, device)?;
        let shapes = parameter_shapes(&adapters);
        let sizes = TrainedSizes::of(&resolved.optimizer_config(), &shapes);
        if !self.starts_lora(&base, sizes)? {
            return Ok(Ending::Finished);
        }
        let objective = LoraFlowMatching::new(resolved.flow_matching(), base.transformer.clone());
        let metadata = metadata(resolved, replay.as_ref())?;
        let context = self.context();
        if let Some(file) = replay {
            self.write_settings()?;
            let flow = FlowStage::replayed(resolved, base.source, device);
            let stage = LoraStage::new(resolved, flow, objective.clone(), metadata);
            let source = ReplaySource {
                file,
                device: device.clone(),
            };
            return train::<B, _, _>(&context, stage, adapters, objective, &source, device);
        }
        let encoders = base.encoders()?;
        let encoding = Encoding {
            vae: encoders.vae.clone(),
            tokenizer: encoders.tokenizer.clone(),
            text_encoder: Some(encoders.text_encoder.clone()),
            text_rows: resolved.max_sequence_length,
            characters: false,
            device: device.clone(),
        };
        let images = FlowImages::new(self.data.as_ref(), encoding)?;
        let flow = FlowStage::new(resolved, &images, base.source, device)?;
        let stage = LoraStage::new(resolved, flow, objective.clone(), metadata);
        let source = FlowSource::new(resolved, images)?;
        self.write_settings()?;
        train::<B, _, _>(&context, stage, adapters, objective, &source, device)
    }

    /// Prints the plan of a dry run, or checks the disk space. Returns true if the run starts.
    fn starts_lora<B: Backend>(&self, base: &Models<B>, trained: TrainedSizes) -> Result<bool> {
        let plan = Plan {
            resolved: &self.resolved,
            trained,
            model_bytes: 4 * trained.parameters,
            frozen_bytes: base.frozen_bytes(&self.resolved)?,
        };
        if self.dry.is_some() {
            print(format!("{plan}\n").as_bytes())?;
            return Ok(false);
        }
        plan.check_disk(self.folder.path())?;
        say(&format!("memory: {}", plan.memory()));
        Ok(true)
    }
}
