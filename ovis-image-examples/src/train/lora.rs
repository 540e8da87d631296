//! Training stage of adapters: the transformer is frozen, and low-rank adapters learn.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use burn::tensor::backend::Backend;
use image::RgbImage;
use ovis_image::training::{
    FlowMatching, ImageBatch, ImageModels, LoraAdapters, LoraConfig, LoraFlowMatching,
};
use ovis_image::transformer::OvisImageTransformer;
use ovis_image::{LoadOptions, LoraFile};
use serde_json::{Map, Value};

use super::flow::FlowStage;
use super::folder::RunFolder;
use super::lora_settings::LoraSettings;
use super::output::adapters;
use super::resolved::Resolved;
use super::stage::Stage;

impl LoraSettings {
    /// Returns the options with those of the frozen base.
    pub fn base_options(&self, options: LoadOptions) -> LoadOptions {
        let options = match self.quantize {
            Some(quantization) => options.with_quantization(quantization),
            None => options,
        };
        options.with_streamed_blocks(self.stream_blocks.unwrap_or(0))
    }

    /// Reads or creates the adapters that a run starts from.
    ///
    /// # Errors
    /// Returns the errors of the adapter's file, or an error if it was made for another model, or
    /// if no module matches a pattern.
    pub fn adapters<B: Backend>(
        &self,
        seed: u64,
        transformer: &OvisImageTransformer<B>,
        device: &B::Device,
    ) -> Result<LoraAdapters<B>> {
        if let Some(path) = &self.init_lora {
            let file = LoraFile::open(path)?;
            return Ok(LoraAdapters::read(&file, transformer, device)?);
        }
        let default = LoraConfig::default();
        let rank = self.rank.unwrap_or(default.rank);
        let config = LoraConfig {
            rank,
            alpha: self.alpha.unwrap_or(rank as f64),
            rank_stabilized: self.rslora.unwrap_or_default(),
            modules: self.target_modules.clone().unwrap_or(default.modules),
            overrides: self.overrides.clone(),
        };
        Ok(LoraAdapters::new(&config, transformer, seed, device)?)
    }
}

/// Training stage of adapters.
#[derive(Debug)]
pub struct LoraStage<B: Backend> {
    flow: FlowStage<B>,
    /// Objective on whose transformer the adapters act in samples.
    objective: LoraFlowMatching<B>,
    measures: FlowMatching,
    resolved: Resolved,
    /// Metadata of the exports.
    metadata: BTreeMap<String, String>,
}

impl<B: Backend> LoraStage<B> {
    /// Creates the stage over the stage of the whole transformer, which validates and samples.
    /// Exports have `metadata`.
    pub fn new(
        resolved: &Resolved,
        flow: FlowStage<B>,
        objective: LoraFlowMatching<B>,
        metadata: BTreeMap<String, String>,
    ) -> Self {
        Self {
            flow,
            objective,
            measures: FlowMatching::new(resolved.flow_matching()),
            resolved: resolved.clone(),
            metadata,
        }
    }

    fn adapted(&self, adapters: &LoraAdapters<B>) -> Result<ImageModels<B>> {
        Ok(ImageModels {
            transformer: self.objective.adapted(adapters)?,
            text_encoder: None,
            auxiliary: None,
        })
    }
}

impl<B: Backend> Stage<B> for LoraStage<B> {
    type Objective = LoraFlowMatching<B>;

    fn exports(&self, run: &RunFolder) -> [PathBuf; 2] {
        adapters(&self.resolved, run)
    }

    fn images_of(&self, batch: &ImageBatch<B>) -> usize {
        self.flow.images_of(batch)
    }

    fn before_batch(&self, _objective: &mut LoraFlowMatching<B>, _images: u64) {}

    fn validate(
        &self,
        _objective: &LoraFlowMatching<B>,
        models: &LoraAdapters<B>,
    ) -> Result<Map<String, Value>> {
        self.flow.validate(&self.measures, &self.adapted(models)?)
    }

    fn sample(&self, models: &LoraAdapters<B>) -> Result<Option<RgbImage>> {
        self.flow.sample(&self.adapted(models)?)
    }

    fn export(&self, models: &LoraAdapters<B>, path: &Path) -> Result<()> {
        let settings = self.resolved.lora.as_ref();
        let format = settings.and_then(|settings| settings.format);
        Ok(models.save_as(path, format.unwrap_or_default(), &self.metadata)?)
    }
}
