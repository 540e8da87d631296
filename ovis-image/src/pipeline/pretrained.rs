use std::path::Path;
use std::time::{Duration, Instant};

use burn::tensor::backend::Backend;

use super::check::Requirements;
use crate::checkpoint::{
    Checkpoint, CheckpointPaths, EmbeddedCheckpoint, check_dtype, check_given_model,
};
use crate::config::WeightDtype;
use crate::error::{OvisImageError, Phase, Result};
use crate::kernels::BackendInfo;
use crate::loaded_models::{AdaptedTransformer, ImageCoder, PromptEncoder};
use crate::memory::DeviceMemory;
use crate::request::LoadOptions;
use crate::sampling::FlowMatchEulerScheduler;
use crate::text_encoder::{PromptTokenizer, TextEncoder};
use crate::transformer::OvisImageTransformer;
use crate::vae::AutoencoderKl;

/// Complete Ovis-Image model on one device. Clones share their weights.
#[derive(Debug, Clone)]
pub struct OvisImagePipeline<B: Backend> {
    prompt_encoder: PromptEncoder<B>,
    transformer: AdaptedTransformer<B>,
    image_coder: ImageCoder<B>,
    scheduler: FlowMatchEulerScheduler,
    requirements: Requirements,
    device: B::Device,
    load_time: Duration,
}

impl<B: Backend> OvisImagePipeline<B> {
    /// Loads a checkpoint folder in any of its layouts.
    ///
    /// # Errors
    /// Returns the errors of [`Checkpoint::open`] and [`from_checkpoint`](Self::from_checkpoint).
    pub fn from_pretrained(
        folder: impl AsRef<Path>,
        options: LoadOptions,
        device: &B::Device,
    ) -> Result<Self> {
        Self::from_checkpoint(&Checkpoint::open(folder)?, options, device)
    }

    /// Loads the parts of a checkpoint, each from a separate path.
    ///
    /// # Errors
    /// Returns the errors of [`Checkpoint::open_paths`] and
    /// [`from_checkpoint`](Self::from_checkpoint).
    pub fn from_paths(
        paths: &CheckpointPaths,
        options: LoadOptions,
        device: &B::Device,
    ) -> Result<Self> {
        Self::from_checkpoint(&Checkpoint::open_paths(paths)?, options, device)
    }

    /// Loads a checkpoint that is embedded in the program.
    ///
    /// # Errors
    /// Returns the errors of [`Checkpoint::open_embedded`] and
    /// [`from_checkpoint`](Self::from_checkpoint).
    pub fn from_embedded(
        files: &EmbeddedCheckpoint,
        options: LoadOptions,
        device: &B::Device,
    ) -> Result<Self> {
        Self::from_checkpoint(&Checkpoint::open_embedded(files)?, options, device)
    }

    /// Reads the weights of an opened checkpoint onto the device.
    ///
    /// # Errors
    /// Returns [`DeviceError::UnsupportedDtype`](crate::error::DeviceError::UnsupportedDtype) if
    /// the device cannot compute in the requested dtype, and
    /// [`CheckpointError::Weights`](crate::error::CheckpointError::Weights) if tensors and
    /// configuration do not agree. The tokenizer may still be parsing when this returns; its errors
    /// are returned by the first request with a prompt, or by [`tokenizer`](Self::tokenizer).
    pub fn from_checkpoint(
        checkpoint: &Checkpoint,
        options: LoadOptions,
        device: &B::Device,
    ) -> Result<Self> {
        let start = Instant::now();
        for dtype in [options.dtype, options.resolved_vae_dtype()] {
            check_dtype::<B>(dtype, device)?;
        }
        let backend = BackendInfo::of::<B>(device);
        let in_place = options.in_place && backend.computes_in_place;
        let pipeline = Self {
            prompt_encoder: PromptEncoder::load(checkpoint, &options, in_place, device)?,
            transformer: AdaptedTransformer::load(checkpoint, &options, in_place, device)?,
            image_coder: ImageCoder::load(checkpoint, &options, in_place, device)?,
            scheduler: FlowMatchEulerScheduler::new(checkpoint.scheduler.clone())?,
            requirements: Requirements::new(checkpoint, &options, DeviceMemory::of::<B>(device))?,
            device: device.clone(),
            load_time: Duration::ZERO,
        };
        pipeline.sync(Phase::Loading)?;
        let load_time = start.elapsed();
        tracing::info!(seconds = load_time.as_secs_f64(), dtype = %options.dtype, "checkpoint loaded");
        Ok(Self {
            load_time,
            ..pipeline
        })
    }

    /// Time that loading took.
    pub fn load_time(&self) -> Duration {
        self.load_time
    }

    /// Device that holds the weights.
    pub fn device(&self) -> &B::Device {
        &self.device
    }

    /// Dtype of the transformer's weights.
    pub fn dtype(&self) -> WeightDtype {
        self.transformer.dtype()
    }

    /// Dtype of the VAE's weights.
    pub fn vae_dtype(&self) -> WeightDtype {
        self.image_coder.dtype()
    }

    /// Text encoder of the pipeline.
    pub fn text_encoder(&self) -> &TextEncoder<B> {
        self.prompt_encoder.text_encoder()
    }

    /// Transformer that denoises the latents.
    pub fn transformer(&self) -> &OvisImageTransformer<B> {
        self.transformer.model()
    }

    /// VAE that encodes and decodes images.
    pub fn vae(&self) -> &AutoencoderKl<B> {
        self.image_coder.vae()
    }

    /// Tokenizer with its prompt template. Waits for it if it is still being parsed.
    ///
    /// # Errors
    /// Returns [`CheckpointError::Tokenizer`](crate::error::CheckpointError::Tokenizer) if the
    /// tokenizer's file cannot be parsed,
    /// [`CheckpointError::MissingSpecialToken`](crate::error::CheckpointError::MissingSpecialToken)
    /// if it lacks a token of the template, and
    /// [`CheckpointError::InvalidConfig`](crate::error::CheckpointError::InvalidConfig) if it has
    /// more ids than the text encoder.
    pub fn tokenizer(&self) -> Result<&PromptTokenizer> {
        self.prompt_encoder.tokenizer()
    }

    /// Scheduler of the pipeline.
    pub fn scheduler(&self) -> &FlowMatchEulerScheduler {
        &self.scheduler
    }

    /// Number of pixels that an image's sides must be multiples of: 16 for the release.
    pub fn size_multiple(&self) -> usize {
        self.requirements.size_multiple()
    }

    /// Replaces the text encoder, for example with a fine-tuned one.
    ///
    /// # Errors
    /// Returns [`CheckpointError::InvalidConfig`](crate::error::CheckpointError::InvalidConfig) if
    /// its sizes do not fit together, if the transformer reads embeddings of another width, or if
    /// its weights have mixed dtypes, an unsupported dtype, or are on another device. Returns
    /// [`DeviceError::UnsupportedDtype`](crate::error::DeviceError::UnsupportedDtype) if the device
    /// cannot compute in their dtype.
    pub fn with_text_encoder(mut self, text_encoder: TextEncoder<B>) -> Result<Self> {
        let config = text_encoder.config();
        let probe = &text_encoder.final_norm.weight;
        check_given_model(&config, &text_encoder, probe, &self.device)?;
        self.requirements = self.requirements.with_text_encoder(config)?;
        self.prompt_encoder = self.prompt_encoder.with_text_encoder(text_encoder);
        Ok(self)
    }

    /// Replaces the transformer and its dtype, and drops the pipeline's LoRAs.
    ///
    /// # Errors
    /// Returns [`CheckpointError::InvalidConfig`](crate::error::CheckpointError::InvalidConfig) if
    /// its sizes do not fit together, if the text encoder's embeddings or the VAE's latents have
    /// other sizes, or if its weights have mixed dtypes, an unsupported dtype, or are on another
    /// device. Returns
    /// [`DeviceError::UnsupportedDtype`](crate::error::DeviceError::UnsupportedDtype) if the device
    /// cannot compute in their dtype.
    pub fn with_transformer(mut self, transformer: OvisImageTransformer<B>) -> Result<Self> {
        let config = transformer.config();
        let probe = &transformer.text_norm.weight;
        let dtype = check_given_model(&config, &transformer, probe, &self.device)?;
        self.requirements = self.requirements.with_transformer(config, dtype)?;
        self.transformer = AdaptedTransformer::new(transformer, dtype, &self.device);
        Ok(self)
    }

    /// Replaces the VAE and its dtype. The image sizes that are allowed follow from it.
    ///
    /// # Errors
    /// Returns [`CheckpointError::InvalidConfig`](crate::error::CheckpointError::InvalidConfig) if
    /// its sizes do not fit together, if the transformer's latents have another number of channels,
    /// or if its weights have mixed dtypes, an unsupported dtype, or are on another device. Returns
    /// [`DeviceError::UnsupportedDtype`](crate::error::DeviceError::UnsupportedDtype) if the device
    /// cannot compute in their dtype.
    pub fn with_vae(mut self, vae: AutoencoderKl<B>) -> Result<Self> {
        let config = vae.config();
        let probe = &vae.decoder.norm_out.weight;
        let dtype = check_given_model(&config, &vae, probe, &self.device)?;
        self.requirements = self.requirements.with_vae(config)?;
        self.image_coder = ImageCoder::new(vae, dtype, &self.device);
        Ok(self)
    }

    pub(super) fn prompt_encoder(&self) -> &PromptEncoder<B> {
        &self.prompt_encoder
    }

    pub(super) fn image_coder(&self) -> &ImageCoder<B> {
        &self.image_coder
    }

    /// Transformer with its LoRAs.
    pub(super) fn adapted(&self) -> &AdaptedTransformer<B> {
        &self.transformer
    }

    pub(super) fn adapted_mut(&mut self) -> &mut AdaptedTransformer<B> {
        &mut self.transformer
    }

    pub(super) fn requirements(&self) -> &Requirements {
        &self.requirements
    }

    /// Checks that no file in use was shortened or overwritten.
    pub(super) fn check_files(&self) -> Result<()> {
        self.prompt_encoder.check_files()?;
        self.transformer.check_files()?;
        self.image_coder.check_files()
    }

    /// Waits for the device and returns its failures.
    pub(super) fn sync(&self, phase: Phase) -> Result<()> {
        B::sync(&self.device).map_err(|error| OvisImageError::backend(phase, error))
    }
}
