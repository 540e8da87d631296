//! Training stage of flow matching: the transformer, and the text encoder if requested.

use std::path::Path;

use anyhow::Result;
use burn::backend::Autodiff;
use burn::tensor::backend::Backend;
use burn::tensor::{BasicOps, Tensor};
use image::RgbImage;
use ovis_image::checkpoint::ExportOptions;
use ovis_image::training::{
    CharacterHead, CharacterHeadConfig, FlowMatching, ImageBatch, ImageModels, Objective,
    PromptBatch, TrainedParts, initialize,
};
use ovis_image::{
    Checkpoint, GenerationRequest, Layout, LoadOptions, OvisImagePipeline, Residency,
};
use serde_json::{Map, Value, json};

use super::data::{ChosenCaption, TrainingData};
use super::drawing::{Drawing, grid};
use super::encoding::{CELLS, Encoding};
use super::flow_source::{Encoder, FlowImages};
use super::models::Source;
use super::random::seed_for;
use super::resolved::Resolved;
use super::stage::Stage;
use crate::training_data::DataRow;
use crate::typography::CELL_CLASSES;

/// Number of timestep bands in a validation.
const BANDS: usize = 4;

/// Training stage of flow matching.
#[derive(Debug)]
pub struct FlowStage<B: Backend> {
    resolved: Resolved,
    base: Source,
    validation: Vec<ImageBatch<B>>,
    prompts: Vec<String>,
    device: B::Device,
}

impl<B: Backend> FlowStage<B> {
    /// Creates the stage of a run that replays recorded batches.
    pub fn replayed(resolved: &Resolved, base: Source, device: &B::Device) -> Self {
        Self {
            resolved: Resolved {
                auxiliary_weight: 0.0,
                ..resolved.clone()
            },
            base,
            validation: Vec::new(),
            prompts: Vec::new(),
            device: device.clone(),
        }
    }

    /// Creates the stage, and draws or reads the held-out images.
    ///
    /// # Errors
    /// Returns an error if they cannot be drawn or read, or if a caption is too long.
    pub fn new(
        resolved: &Resolved,
        images: &FlowImages<B>,
        base: Source,
        device: &B::Device,
    ) -> Result<Self> {
        let (validation, prompts) = match images {
            FlowImages::Read(data, encoder) => read_validation(resolved, data, encoder)?,
            FlowImages::Drawn(encoding) => drawn_validation(resolved, encoding)?,
        };
        let prompts = if resolved.sample_prompts.is_empty() {
            prompts
        } else {
            resolved.sample_prompts.clone()
        };
        Ok(Self {
            resolved: resolved.clone(),
            base,
            validation,
            prompts,
            device: device.clone(),
        })
    }

    /// Computes the mean loss of a band of timesteps over all held-out images.
    fn band(
        &self,
        objective: &FlowMatching,
        models: &ImageModels<B>,
        band: usize,
        prompts: Prompts,
    ) -> Result<f64> {
        let (mut sum, mut images) = (0.0, 0);
        for batch in &self.validation {
            let count = batch.latents.dims()[0];
            let timestep = |index| {
                let within = (index as f32 + 0.5) / count as f32;
                (band as f32 + within) / BANDS as f32
            };
            let batch = ImageBatch {
                timesteps: (0..count).map(timestep).collect(),
                prompts: match prompts {
                    Prompts::Own => batch.prompts.clone(),
                    Prompts::OfOthers => of_others(&batch.prompts),
                },
                ..batch.clone()
            };
            let terms = Objective::<Autodiff<B>>::loss(objective, models, batch)?;
            sum += terms.loss() * count as f64;
            images += count;
        }
        Ok(sum / images as f64)
    }
}

/// Prompts of the images of a validation.
#[derive(Clone, Copy)]
enum Prompts {
    Own,
    OfOthers,
}

/// Gives each image of a batch the prompt of the next one.
fn of_others<B: Backend>(prompts: &PromptBatch<B>) -> PromptBatch<B> {
    match prompts {
        PromptBatch::Encoded(embeds) => PromptBatch::Encoded(rolled(embeds.clone())),
        PromptBatch::Tokens { input_ids, real } => PromptBatch::Tokens {
            input_ids: rolled(input_ids.clone()),
            real: rolled(real.clone()),
        },
    }
}

/// Moves the first row of a tensor to its end.
fn rolled<B: Backend, const D: usize, K: BasicOps<B>>(tensor: Tensor<B, D, K>) -> Tensor<B, D, K> {
    let rows = tensor.dims()[0];
    let first = tensor.clone().narrow(0, 0, 1);
    if rows == 1 {
        return first;
    }
    Tensor::cat(vec![tensor.narrow(0, 1, rows - 1), first], 0)
}

/// Draws held-out images. Returns them in batches, and prompts of samples.
fn drawn_validation<B: Backend>(
    resolved: &Resolved,
    encoding: &Encoding<B>,
) -> Result<(Vec<ImageBatch<B>>, Vec<String>)> {
    let count = resolved.validation_images.max(resolved.samples);
    let held_out = Drawing::held_out(resolved)?.images(count)?;
    let caption = |index: usize| held_out[index].captions.english.clone();
    let prompts = (0..resolved.samples).map(caption).collect();
    let mut validation = Vec::new();
    let parts = held_out[..resolved.validation_images].chunks(resolved.batch_size);
    for (number, samples) in parts.enumerate() {
        let captions = samples
            .iter()
            .map(|sample| sample.captions.english.as_str());
        let captions: Vec<&str> = captions.collect();
        let noise = seed_for(resolved.seed, "validation", number as u64);
        validation.push(encoding.batch(samples, &captions, Vec::new(), noise)?);
    }
    Ok((validation, prompts))
}

/// Reads held-out images. Returns them in batches, and prompts of samples.
fn read_validation<B: Backend>(
    resolved: &Resolved,
    data: &TrainingData,
    encoder: &Encoder<B>,
) -> Result<(Vec<ImageBatch<B>>, Vec<String>)> {
    let mut validation = Vec::new();
    let parts = data.validation(resolved.validation_images);
    for (number, rows) in parts.iter().enumerate() {
        let first = |row: &&'_ DataRow| Some(ChosenCaption::first(row));
        let rows: Vec<(&DataRow, Option<ChosenCaption>)> =
            rows.iter().map(|row| (*row, first(row))).collect();
        let noise = seed_for(resolved.seed, "validation", number as u64);
        validation.push(encoder.batch(&rows, noise)?);
    }
    Ok((validation, data.prompts(resolved.samples)))
}

/// Creates the head of the auxiliary term.
pub(super) fn character_head<B: Backend>(
    resolved: &Resolved,
    hidden: usize,
    device: &B::Device,
) -> Result<CharacterHead<B>> {
    let config = CharacterHeadConfig {
        cells: CELLS * CELLS,
        classes: CELL_CLASSES,
    };
    let head = CharacterHead::new(&config, hidden, device)?;
    let parameters = config.parameters(hidden);
    Ok(initialize(head, &parameters, resolved.seed)?)
}

impl<B: Backend> Stage<B> for FlowStage<B> {
    type Objective = FlowMatching;

    fn images_of(&self, batch: &ImageBatch<B>) -> usize {
        batch.timesteps.len()
    }

    fn before_batch(&self, objective: &mut FlowMatching, images: u64) {
        objective.set_auxiliary_weight(self.resolved.auxiliary_weight_at(images));
    }

    fn validate(
        &self,
        objective: &FlowMatching,
        models: &ImageModels<B>,
    ) -> Result<Map<String, Value>> {
        let mut line = Map::new();
        if self.validation.is_empty() {
            return Ok(line);
        }
        let loss = |prompts: Prompts| -> Result<Vec<f64>> {
            (0..BANDS)
                .map(|band| self.band(objective, models, band, prompts))
                .collect()
        };
        let mean = |bands: &[f64]| bands.iter().sum::<f64>() / BANDS as f64;
        let own = loss(Prompts::Own)?;
        line.insert("validation".to_owned(), json!(mean(&own)));
        // A model that does not read prompts is as good with those of other images, which a batch of
        // one does not have.
        let mut batches = self.validation.iter();
        if batches.any(|batch| batch.latents.dims()[0] > 1) {
            let gain = mean(&loss(Prompts::OfOthers)?) - mean(&own);
            line.insert("prompt_gain".to_owned(), json!(gain));
        }
        line.insert("bands".to_owned(), json!(own));
        Ok(line)
    }

    fn sample(&self, models: &ImageModels<B>) -> Result<Option<RgbImage>> {
        if self.prompts.is_empty() {
            return Ok(None);
        }
        let resolved = &self.resolved;
        let checkpoint = Checkpoint::open_paths(&self.base.paths)?;
        // The transformer of the checkpoint is replaced at once, and the text encoder is used once: so
        // their weights stay in their files.
        let options = LoadOptions::new()
            .with_dtype(resolved.weight_dtype()?)
            .with_vae_dtype(ovis_image::WeightDtype::F32)
            .with_streamed_blocks(usize::MAX)
            .with_modulation_residency(Residency::File)
            .with_text_encoder_residency(Residency::File);
        let pipeline = OvisImagePipeline::<B>::from_checkpoint(&checkpoint, options, &self.device)?;
        let mut pipeline = pipeline.with_transformer(models.transformer.clone())?;
        if let Some(encoder) = &models.text_encoder {
            pipeline = pipeline.with_text_encoder(encoder.clone())?;
        }
        let size = resolved.buckets()?.first().copied().unwrap_or_default();
        let mut images = Vec::new();
        // Small batches, so that sampling takes no more memory than training.
        for (part, prompts) in self.prompts.chunks(resolved.batch_size).enumerate() {
            let first = (part * resolved.batch_size) as u64;
            let request = GenerationRequest::from_prompts(prompts)
                .with_size(size[0] as usize, size[1] as usize)
                .with_seed_per_image(first..first + prompts.len() as u64)
                .with_num_inference_steps(resolved.sample_steps)
                .with_guidance_scale(resolved.sample_guidance)
                .with_max_sequence_length(resolved.max_sequence_length);
            let output = pipeline.generate(&request)?;
            images.extend(output.images.into_iter().map(|image| image.image));
        }
        Ok(grid(&images, 8))
    }

    fn export(&self, models: &ImageModels<B>, folder: &Path) -> Result<()> {
        let base = &self.base;
        let parts = TrainedParts {
            transformer: Some((&models.transformer, &base.transformer_config)),
            text_encoder: models
                .text_encoder
                .as_ref()
                .map(|encoder| (encoder, &base.text_encoder_config)),
            vae: None,
        };
        parts.export(&base.paths, folder, &ExportOptions::new(Layout::Diffusers))?;
        Ok(())
    }
}
