use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::check::Requirements;
use super::lora::{ActiveLora, Originals};
use super::tokenizer::PendingTokenizer;
use crate::checkpoint::{Checkpoint, CheckpointPaths, EmbeddedCheckpoint, Part};
use crate::config::WeightDtype;
use crate::config::{TextEncoderConfig, TransformerConfig};
use crate::error::{OvisImageError, Phase, Result};
use crate::images::download;
use crate::kernels::BackendInfo;
use crate::memory::DeviceMemory;
use crate::parameters::ParameterRole;
use crate::request::LoadOptions;
use crate::sampling::FlowMatchEulerScheduler;
use crate::text_encoder::{PromptTokenizer, TextEncoder};
use crate::transformer::OvisImageTransformer;
use crate::vae::AutoencoderKl;
use crate::weights::{MappedRows, Residency, StoredParameter, load_weights};

/// All of Ovis-Image on one device. Clones share their weights.
#[derive(Debug, Clone)]
pub struct OvisImagePipeline<B: Backend> {
    pub(super) text_encoder: TextEncoder<B>,
    pub(super) transformer: OvisImageTransformer<B>,
    pub(super) vae: AutoencoderKl<B>,
    pub(super) tokenizer: PendingTokenizer,
    pub(super) scheduler: FlowMatchEulerScheduler,
    pub(super) requirements: Requirements,
    pub(super) dtype: WeightDtype,
    pub(super) vae_dtype: WeightDtype,
    pub(super) device: B::Device,
    /// The table's rows in its file; `None` when the encoder is not the checkpoint's own.
    pub(super) embedding_rows: Option<MappedRows>,
    /// The embeddings of the empty prompt, which is every request's negative one unless it says
    /// otherwise: `[1, 256, context]`.
    pub(super) empty_prompt: Arc<OnceLock<Tensor<B, 3>>>,
    /// Whether the weights of the modulation are read when used, and given back.
    pub(super) modulation_is_absent: bool,
    /// The LoRAs on the transformer, in the order in which they were loaded.
    pub(super) loras: Vec<ActiveLora>,
    /// The weights that merged ones replaced; `None` if none is merged.
    pub(super) originals: Option<Originals<B>>,
    /// Where the transformer's weights can be read again; `None` if it is not the checkpoint's own.
    pub(super) transformer_files: Option<Arc<TransformerFiles>>,
    load_time: Duration,
}

/// What the transformer was loaded from.
#[derive(Debug)]
pub(super) struct TransformerFiles {
    part: Part<TransformerConfig>,
    dtype: WeightDtype,
    in_place: bool,
}

impl TransformerFiles {
    /// Reads the weights, each to where it is placed.
    pub(super) fn load<B: Backend>(
        &self,
        device: &B::Device,
        residency: impl Fn(&StoredParameter) -> Residency,
    ) -> Result<OvisImageTransformer<B>> {
        let weights = self.part.weights(self.dtype, self.in_place);
        load_weights(self.part.config.init(device), weights, residency, device)
    }
}

impl<B: Backend> OvisImagePipeline<B> {
    /// Loads a checkpoint folder in any of its layouts.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open`] and [`from_checkpoint`](Self::from_checkpoint).
    pub fn from_pretrained(
        folder: impl AsRef<Path>,
        options: LoadOptions,
        device: &B::Device,
    ) -> Result<Self> {
        Self::from_checkpoint(&Checkpoint::open(folder)?, options, device)
    }

    /// Loads the parts of a checkpoint from their own paths.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open_paths`] and [`from_checkpoint`](Self::from_checkpoint).
    pub fn from_paths(
        paths: &CheckpointPaths,
        options: LoadOptions,
        device: &B::Device,
    ) -> Result<Self> {
        Self::from_checkpoint(&Checkpoint::open_paths(paths)?, options, device)
    }

    /// Loads a checkpoint that is part of the program.
    ///
    /// # Errors
    /// Those of [`Checkpoint::open_embedded`] and [`from_checkpoint`](Self::from_checkpoint).
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
    /// [`OvisImageError::UnsupportedDtype`] when the device cannot compute in the dtype asked for,
    /// [`OvisImageError::Weights`] when tensors and configuration do not agree. The tokenizer is
    /// still being parsed when this returns: what is wrong with it is said by the first prompt, or
    /// by [`tokenizer`](Self::tokenizer).
    pub fn from_checkpoint(
        checkpoint: &Checkpoint,
        options: LoadOptions,
        device: &B::Device,
    ) -> Result<Self> {
        let start = Instant::now();
        let (dtype, vae_dtype) = (options.dtype, options.resolved_vae_dtype());
        for dtype in [dtype, vae_dtype] {
            check_dtype::<B>(dtype, device)?;
        }
        let tokenizer = PendingTokenizer::start(checkpoint);
        let in_place = options.in_place && BackendInfo::of::<B>().computes_in_place;
        let transformer_files = TransformerFiles {
            part: checkpoint.transformer.clone(),
            dtype,
            in_place,
        };
        let Models {
            text_encoder,
            transformer,
            vae,
        } = Models::load(checkpoint, &transformer_files, &options, device)?;
        let modulation_is_absent = transformer.modulation_is_absent();
        let pipeline = Self {
            text_encoder,
            transformer,
            vae,
            embedding_rows: token_embedding_rows(&checkpoint.text_encoder, dtype),
            empty_prompt: Arc::default(),
            modulation_is_absent,
            loras: Vec::new(),
            originals: None,
            transformer_files: Some(Arc::new(transformer_files)),
            tokenizer,
            scheduler: FlowMatchEulerScheduler::new(checkpoint.scheduler.clone())?,
            requirements: Requirements::new(checkpoint, &options, DeviceMemory::of::<B>())?,
            dtype,
            vae_dtype,
            device: device.clone(),
            load_time: Duration::ZERO,
        };
        pipeline.sync(Phase::Loading)?;
        let load_time = start.elapsed();
        tracing::info!(seconds = load_time.as_secs_f64(), %dtype, "checkpoint loaded");
        Ok(Self {
            load_time,
            ..pipeline
        })
    }

    /// How long loading took.
    pub fn load_time(&self) -> Duration {
        self.load_time
    }

    /// The device that the weights are on.
    pub fn device(&self) -> &B::Device {
        &self.device
    }

    /// The text encoder.
    pub fn text_encoder(&self) -> &TextEncoder<B> {
        &self.text_encoder
    }

    /// The denoiser.
    pub fn transformer(&self) -> &OvisImageTransformer<B> {
        &self.transformer
    }

    /// The autoencoder.
    pub fn vae(&self) -> &AutoencoderKl<B> {
        &self.vae
    }

    /// The same pipeline with another text encoder, for example one that was trained further.
    pub fn with_text_encoder(mut self, text_encoder: TextEncoder<B>) -> Self {
        self.text_encoder = text_encoder;
        self.embedding_rows = None;
        self.empty_prompt = Arc::default();
        self
    }

    /// The same pipeline with another denoiser, and without its LoRAs.
    pub fn with_transformer(mut self, transformer: OvisImageTransformer<B>) -> Self {
        self.transformer = transformer;
        self.modulation_is_absent = false;
        self.loras = Vec::new();
        self.originals = None;
        self.transformer_files = None;
        self
    }

    /// The same pipeline with another autoencoder.
    pub fn with_vae(mut self, vae: AutoencoderKl<B>) -> Self {
        self.vae = vae;
        self
    }

    /// The tokenizer with its template; waits for it, if it is still being parsed.
    ///
    /// # Errors
    /// [`OvisImageError::Tokenizer`], [`OvisImageError::MissingSpecialToken`], or
    /// [`OvisImageError::InvalidConfig`] when it has more ids than the text encoder.
    pub fn tokenizer(&self) -> Result<&PromptTokenizer> {
        self.tokenizer.get()
    }

    /// The scheduler.
    pub fn scheduler(&self) -> &FlowMatchEulerScheduler {
        &self.scheduler
    }

    /// The sides of an image must be multiples of this: 16 for the release.
    pub fn size_multiple(&self) -> usize {
        self.requirements.size_multiple()
    }

    /// Waits for the device; its failures surface here.
    pub(super) fn sync(&self, phase: Phase) -> Result<()> {
        B::sync(&self.device).map_err(|error| OvisImageError::Backend {
            phase,
            reason: error.to_string(),
        })
    }

    /// Downloads a tensor and refuses NaN and infinity, naming the phase.
    pub(super) fn check_finite<const D: usize>(
        &self,
        tensor: Tensor<B, D>,
        phase: Phase,
    ) -> Result<Vec<f32>> {
        let values = download(tensor, phase)?;
        match values.iter().filter(|value| !value.is_finite()).count() {
            0 => Ok(values),
            count => Err(OvisImageError::NonFinite { phase, count }),
        }
    }
}

/// The three models of a pipeline.
struct Models<B: Backend> {
    text_encoder: TextEncoder<B>,
    transformer: OvisImageTransformer<B>,
    vae: AutoencoderKl<B>,
}

impl<B: Backend> Models<B> {
    fn load(
        checkpoint: &Checkpoint,
        transformer: &TransformerFiles,
        options: &LoadOptions,
        device: &B::Device,
    ) -> Result<Self> {
        let (encoder, vae) = (&checkpoint.text_encoder, &checkpoint.vae);
        let in_place = transformer.in_place;
        let mut text_encoder = load_weights(
            encoder.config.init(device),
            encoder.weights(options.dtype, in_place),
            |stored| options.text_encoder_placement(stored),
            device,
        )?;
        text_encoder.stream_absent_weights();
        let mut denoiser = transformer.load(device, |stored| {
            options.transformer_placement(&transformer.part.config, stored)
        })?;
        denoiser.stream_absent_weights();
        Ok(Self {
            text_encoder,
            transformer: denoiser,
            vae: load_weights(
                vae.config.init(device),
                vae.weights(options.resolved_vae_dtype(), in_place),
                |stored| options.vae_placement(stored),
                device,
            )?,
        })
    }
}

/// The rows of the token embedding in its file.
fn token_embedding_rows(part: &Part<TextEncoderConfig>, dtype: WeightDtype) -> Option<MappedRows> {
    let parameters = part.config.parameters();
    let mut parameters = parameters.iter();
    let table = parameters.find(|other| other.role == ParameterRole::TokenEmbedding)?;
    MappedRows::new(&part.source, &part.table, &table.path, dtype.to_burn())
}

fn check_dtype<B: Backend>(dtype: WeightDtype, device: &B::Device) -> Result<()> {
    if B::supports_dtype(device, dtype.to_burn()) {
        return Ok(());
    }
    let alternative = match dtype {
        WeightDtype::BF16 if B::supports_dtype(device, WeightDtype::F16.to_burn()) => "f16 or f32",
        _ => "f32",
    };
    Err(OvisImageError::UnsupportedDtype {
        device: B::name(device),
        dtype: dtype.to_string(),
        alternative,
    })
}
