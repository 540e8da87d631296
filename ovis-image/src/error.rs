//! One error type, by kind. Each variant names the file, tensor or argument at fault and, where
//! there is one, the way out.

use std::fmt;
use std::path::PathBuf;

/// A `Result` whose error is [`OvisImageError`].
pub type Result<T, E = OvisImageError> = std::result::Result<T, E>;

/// Everything that can go wrong between a path on disk and an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OvisImageError {
    /// A file or folder that the checkpoint needs is not there.
    #[error("{} not found: {hint}", path.display())]
    NotFound {
        /// The path that was looked for.
        path: PathBuf,
        /// What was expected there, and what to do.
        hint: String,
    },

    /// Reading or writing a file failed.
    #[error("cannot access {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },

    /// A file is not in the format that its place demands, or is damaged.
    #[error("{} is not a usable {format} file: {reason}", path.display())]
    InvalidFile {
        /// The file.
        path: PathBuf,
        /// The format expected, for example `safetensors`.
        format: &'static str,
        /// What is wrong with it.
        reason: String,
    },

    /// A tensor has an element type that cannot be read as a weight.
    #[error(
        "tensor `{tensor}` in {} has dtype {dtype}: weights can be read from F32, F16 and BF16, and in \
         GGUF files from Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K and Q6_K", path.display()
    )]
    UnknownDtype {
        /// The file.
        path: PathBuf,
        /// The tensor's name in the file.
        tensor: String,
        /// The element type that the header gives.
        dtype: String,
    },

    /// The tensors of a file do not make up the model: every one at fault is listed.
    #[error("{0}")]
    Weights(Box<WeightsReport>),

    /// A folder does not look like any known checkpoint layout.
    #[error(
        "{} holds no checkpoint in a known layout: expected a diffusers folder (model_index.json, \
         transformer/, vae/, text_encoder/, tokenizer/), the authors' files (ovis_image.safetensors, \
         ae.safetensors, Ovis2.5-2B/) or ComfyUI's split files (diffusion_models/, text_encoders/, \
         vae/); or name each part by its own path", path.display()
    )]
    UnknownLayout {
        /// The folder.
        path: PathBuf,
    },

    /// A part's names follow none of the known naming schemes.
    #[error("{} does not hold {part} weights: {reason}", path.display())]
    UnknownNaming {
        /// The file.
        path: PathBuf,
        /// Which part of the model was expected.
        part: &'static str,
        /// Which key decides, and what was found.
        reason: String,
    },

    /// A file holds adapters that are not low-rank additions.
    #[error(
        "{} holds {method} (`{tensor}`), which is not supported: only LoRA is; merge it into the weights \
         with the program that made it, or export it as LoRA", path.display()
    )]
    UnsupportedAdapter {
        /// The file.
        path: PathBuf,
        /// The tensor that tells.
        tensor: String,
        /// The method's name.
        method: &'static str,
    },

    /// No module of a LoRA is the model's.
    #[error(
        "none of the {modules} modules of {} belongs to this model (the first is `{example}`): it is a \
         LoRA for another one", path.display()
    )]
    LoraNotApplied {
        /// The file.
        path: PathBuf,
        /// Modules in the file.
        modules: usize,
        /// One of them.
        example: String,
    },

    /// A LoRA's tensor does not fit the layer that its name means.
    #[error(
        "`{tensor}` in {} has shape {actual:?}, but this model needs {expected:?}: it is a LoRA for \
         another model", path.display()
    )]
    LoraShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The shape that the model needs.
        expected: Vec<usize>,
        /// The shape in the file.
        actual: Vec<usize>,
    },

    /// A checkpoint could not be had from the Hugging Face Hub.
    #[cfg(feature = "hub")]
    #[error("cannot get {repository} ({revision}) from the Hub: {failure}")]
    Hub {
        /// `owner/name`.
        repository: String,
        /// The branch, tag or commit.
        revision: String,
        /// Why not, and the way out.
        failure: crate::hub::HubFailure,
    },

    /// A configuration is inconsistent or asks for something that this model does not have.
    #[error("invalid configuration of the {part}: {reason}")]
    InvalidConfig {
        /// The part of the model.
        part: &'static str,
        /// The broken relation.
        reason: String,
    },

    /// The tokenizer file cannot be used.
    #[error("cannot use the tokenizer {}: {reason}", path.display())]
    Tokenizer {
        /// The tokenizer's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The tokenizer lacks a token that the prompt template needs.
    #[error(
        "the tokenizer {} has no special token `{token}`: use the tokenizer that belongs to the \
         checkpoint (Qwen3's)", path.display()
    )]
    MissingSpecialToken {
        /// The tokenizer's file.
        path: PathBuf,
        /// The token.
        token: &'static str,
    },

    /// An argument of a request is out of range.
    #[error("invalid {argument}: {reason}")]
    InvalidArgument {
        /// The argument's name as in the request builder.
        argument: &'static str,
        /// What is wrong and what would be right.
        reason: String,
    },

    /// The image size cannot be generated.
    #[error("cannot generate {width}x{height}: {reason}")]
    InvalidSize {
        /// The width asked for, in pixels.
        width: usize,
        /// The height asked for, in pixels.
        height: usize,
        /// The rule that it breaks.
        reason: String,
    },

    /// The request would need more memory than there is.
    #[error(
        "{width}x{height} with {images} image(s) needs about {needed_mib} MiB for activations, but \
         {available_mib} MiB are available: make fewer images at once or smaller ones, or \
         decode in tiles"
    )]
    TooLargeForMemory {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// Images made at once.
        images: usize,
        /// Estimate of the activations' peak, in MiB.
        needed_mib: u64,
        /// The limit that was compared with, in MiB.
        available_mib: u64,
    },

    /// Nothing makes the checkpoint and the request fit into the memory that they may take.
    #[error(
        "{limit_mib} MiB are too little: with everything in its file that can be, about \
         {needed_mib} MiB are needed; {hint}"
    )]
    MemoryLimit {
        /// The limit, in MiB.
        limit_mib: u64,
        /// What is needed with every saving, in MiB.
        needed_mib: u64,
        /// What would help.
        hint: String,
    },

    /// A tensor given by the caller has the wrong shape.
    #[error("`{argument}` has shape {actual:?}, expected {expected:?} ({meaning})")]
    ShapeMismatch {
        /// The argument's name.
        argument: &'static str,
        /// What the axes mean.
        meaning: &'static str,
        /// The shape needed.
        expected: Vec<usize>,
        /// The shape given.
        actual: Vec<usize>,
    },

    /// A device name could not be understood.
    #[error(
        "unknown device `{name}`: use auto, flex, ndarray, wgpu[:N], vulkan[:N], metal[:N], cuda[:N] or rocm[:N]"
    )]
    UnknownDevice {
        /// The name given.
        name: String,
    },

    /// The backend of a device was left out at compile time.
    #[error("device `{device}` is not compiled in: build with `--features {feature}`")]
    DeviceNotCompiled {
        /// The device asked for.
        device: String,
        /// The cargo feature that adds it.
        feature: &'static str,
    },

    /// The device is not present on this machine.
    #[error("device `{device}` is not available: {reason}")]
    DeviceUnavailable {
        /// The device asked for.
        device: String,
        /// What the probe found.
        reason: String,
    },

    /// The device cannot compute in the element type asked for.
    #[error("device `{device}` does not support {dtype}: use {alternative}")]
    UnsupportedDtype {
        /// The device.
        device: String,
        /// The element type asked for.
        dtype: String,
        /// An element type that would work.
        alternative: &'static str,
    },

    /// A phase produced NaN or infinity.
    #[error(
        "{phase} produced {count} NaN or infinite values: the weights may be damaged, or the dtype \
         too narrow (try bf16 or f32)"
    )]
    NonFinite {
        /// The phase whose result is at fault.
        phase: Phase,
        /// How many values are not finite.
        count: usize,
    },

    /// The progress callback asked to stop.
    #[error("canceled after {completed_steps} of {total_steps} steps")]
    Canceled {
        /// Steps that were finished.
        completed_steps: usize,
        /// Steps that were asked for.
        total_steps: usize,
    },

    /// The backend reported a failure.
    #[error("the backend failed during {phase}: {reason}")]
    Backend {
        /// What was being done.
        phase: Phase,
        /// The backend's message.
        reason: String,
    },
}

/// A phase of generation, as named in errors and timings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Reading the checkpoint.
    Loading,
    /// Prompt to embeddings.
    TextEncoding,
    /// The sampling loop.
    Denoising,
    /// Latents to pixels, or pixels to latents.
    Vae,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loading => "loading",
            Self::TextEncoding => "text encoding",
            Self::Denoising => "denoising",
            Self::Vae => "the VAE",
        })
    }
}

/// Which tensors of a file do not fit the model, all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WeightsReport {
    /// The file or folder that the weights came from.
    pub source: PathBuf,
    /// The part of the model, for example `transformer`.
    pub part: &'static str,
    /// Tensors that the model needs and the file lacks, by their names in the file.
    pub missing: Vec<String>,
    /// Tensors that the file has and the model does not know.
    pub unexpected: Vec<String>,
    /// Tensors whose shapes do not fit.
    pub wrong_shape: Vec<WrongShape>,
}

/// A tensor whose shape is not the one that the configuration implies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongShape {
    /// Name in the file.
    pub tensor: String,
    /// The shape that the model needs.
    pub expected: Vec<usize>,
    /// The shape in the file.
    pub actual: Vec<usize>,
}

impl WeightsReport {
    /// Whether every tensor is accounted for.
    pub fn is_clean(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.wrong_shape.is_empty()
    }
}

impl fmt::Display for WeightsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the weights in {} do not fit the {}: {} missing, {} unexpected, {} of the wrong shape",
            self.source.display(),
            self.part,
            self.missing.len(),
            self.unexpected.len(),
            self.wrong_shape.len()
        )?;
        for name in &self.missing {
            write!(f, "\n  missing     {name}")?;
        }
        for name in &self.unexpected {
            write!(f, "\n  unexpected  {name}")?;
        }
        for wrong in &self.wrong_shape {
            write!(
                f,
                "\n  wrong shape {}: expected {:?}, found {:?}",
                wrong.tensor, wrong.expected, wrong.actual
            )?;
        }
        Ok(())
    }
}

impl OvisImageError {
    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io {
            path: path.into(),
            source,
        }
    }

    pub(crate) fn config(part: &'static str, reason: impl Into<String>) -> Self {
        Self::InvalidConfig {
            part,
            reason: reason.into(),
        }
    }

    pub(crate) fn argument(argument: &'static str, reason: impl Into<String>) -> Self {
        Self::InvalidArgument {
            argument,
            reason: reason.into(),
        }
    }
}
