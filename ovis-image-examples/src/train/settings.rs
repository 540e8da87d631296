//! Settings of a run, both as a file and as flags. Flags take precedence.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::lora_settings::LoraSettings;
use crate::shared::input_file;
use crate::shared::usage::UsageError;
use crate::training_data::CaptionLanguage;
use crate::training_data::folders::ImageFolder;

/// Stage of training, which selects the trained models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum StageKind {
    /// The VAE, on drawn images
    Autoencoder,
    /// The transformer, by flow matching, and the text encoder if requested
    #[default]
    Flow,
}

/// Course of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleKind {
    /// Stays constant
    #[default]
    Constant,
    /// Falls to zero at the last step along half a cosine
    Cosine,
    /// Falls to zero at the last step along a line
    Linear,
}

/// Optimizer, which also decides the memory of its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    /// AdamW with moments in f32: 8 bytes per parameter
    #[default]
    Adamw,
    /// AdamW with moments in 8 bits: 2 bytes per parameter
    Adamw8bit,
    /// Adafactor: a value for each row and column of a matrix
    Adafactor,
}

/// Activations that the forward pass keeps for the backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RecomputeKind {
    /// Keep everything: fastest
    #[default]
    None,
    /// Keep each block's input: a third more arithmetic, and memory for one block
    Blocks,
}

/// Weight of each timestep in the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum WeightingKind {
    /// Equal weight for all timesteps
    #[default]
    None,
    /// The inverse square of the timestep
    SigmaSqrt,
    /// Cosine map of Stable Diffusion 3
    Cosmap,
}

/// Measure of the errors of an autoencoder's pixels and edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PixelErrorKind {
    /// Absolute differences: sharper edges, for a model that already draws shapes
    #[default]
    Absolute,
    /// Squared differences: learns far sooner from nothing
    Squared,
}

/// Texts to draw until a number of images has been seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CurriculumEntry {
    /// Number of images at which the next entry starts; absent in the last one.
    #[serde(default)]
    pub until_images: Option<u64>,
    /// Minimum and maximum number of characters of a word.
    #[serde(default)]
    pub characters: Option<[usize; 2]>,
    /// Minimum and maximum number of lines.
    #[serde(default)]
    pub lines: Option<[usize; 2]>,
    /// Names of fonts; all if empty.
    #[serde(default)]
    pub fonts: Vec<String>,
}

/// Given settings: keys of the file, and flags.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Settings {
    /// Stage of training, which selects the trained models [default: flow]
    #[arg(long, value_name = "STAGE", value_enum)]
    pub stage: Option<StageKind>,
    /// Checkpoint folder to start from, or owner/name on the Hub
    #[arg(short, long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Folder with configurations and a tokenizer, to start from random parameters
    #[arg(long, value_name = "DIR")]
    pub from_configs: Option<PathBuf>,
    /// VAE that replaces the model's: its folder, or a checkpoint folder
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    pub vae: Option<PathBuf>,
    /// Text encoder that replaces the model's: its folder, or a checkpoint folder
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    pub text_encoder: Option<PathBuf>,
    /// Folder of the run
    #[arg(short, long, value_name = "RUN")]
    pub output: Option<PathBuf>,
    /// File with recorded latents, embeddings and noise for each step, instead of images
    ///
    /// It is for comparisons with other programs; see tests/reference/.
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    pub replay: Option<PathBuf>,
    /// Seed of all random numbers [default: 0]
    #[arg(short, long, value_name = "SEED")]
    pub seed: Option<u64>,
    /// Device, for example flex or ndarray [default: auto]
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Precision of the computation: f32 or bf16 [default: f32, or bf16 for adapters on --images]
    #[arg(long, value_name = "DTYPE")]
    pub dtype: Option<String>,
    /// Number of compute threads [default: all]
    #[arg(long, value_name = "N")]
    pub threads: Option<u16>,
    /// Number of threads that draw and encode images [default: 1]
    #[arg(long, value_name = "N", hide_short_help = true)]
    pub data_threads: Option<u16>,

    /// Number of steps of the whole run [default: 1000]
    #[arg(long, value_name = "N", help_heading = OPTIMIZER)]
    pub steps: Option<u64>,
    /// Number of passes over --images, repeats included, instead of --steps
    #[arg(long, value_name = "N", help_heading = OPTIMIZER)]
    pub epochs: Option<u32>,
    /// Number of images in a batch [default: 16, or 1 with --images]
    #[arg(long, value_name = "N", help_heading = OPTIMIZER)]
    pub batch_size: Option<usize>,
    /// Number of batches whose gradients are averaged for a step [default: 1]
    #[arg(long, value_name = "N", help_heading = OPTIMIZER, hide_short_help = true)]
    pub accumulation: Option<u32>,
    /// Optimizer [default: adamw]
    #[arg(long, value_name = "OPTIMIZER", value_enum, help_heading = OPTIMIZER, hide_short_help = true)]
    pub optimizer: Option<OptimizerKind>,
    /// Learning rate after the warm-up [default: 1e-4]
    #[arg(long, value_name = "VALUE", help_heading = OPTIMIZER)]
    pub learning_rate: Option<f64>,
    /// Course of the learning rate [default: constant]
    #[arg(long, value_name = "SCHEDULE", value_enum, help_heading = OPTIMIZER, hide_short_help = true)]
    pub lr_schedule: Option<ScheduleKind>,
    /// Number of steps over which the learning rate rises [default: 0]
    #[arg(long, value_name = "N", help_heading = OPTIMIZER, hide_short_help = true)]
    pub warmup_steps: Option<u64>,
    /// Decoupled decay of matrices and kernels [default: 0.01]
    #[arg(long, value_name = "VALUE", help_heading = OPTIMIZER, hide_short_help = true)]
    pub weight_decay: Option<f64>,
    /// Decays of AdamW's moments [default: 0.9,0.95]
    #[arg(long, value_name = "A,B", value_delimiter = ',', help_heading = OPTIMIZER, hide_short_help = true)]
    pub adam_betas: Option<Vec<f64>>,
    /// Epsilon in AdamW's denominator [default: 1e-8]
    #[arg(long, value_name = "VALUE", help_heading = OPTIMIZER, hide_short_help = true)]
    pub adam_eps: Option<f64>,
    /// Multiply Adafactor's learning rate by the size of each parameter [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = OPTIMIZER, hide_short_help = true)]
    pub scale_parameter: Option<bool>,
    /// Keep f32 copies of weights in bf16; without them, new weights are rounded at random [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = OPTIMIZER, hide_short_help = true)]
    pub master_weights: Option<bool>,
    /// Update each block in the backward pass, and keep the gradients of one block [default: false]
    ///
    /// Gradients are then not clipped, and a step has one batch.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = OPTIMIZER, hide_short_help = true)]
    pub fused_update: Option<bool>,
    /// Maximum global norm of the gradients, or 0 for no limit [default: 1, or 0 with --fused-update]
    #[arg(long, value_name = "VALUE", help_heading = OPTIMIZER, hide_short_help = true)]
    pub max_grad_norm: Option<f64>,
    /// Decay of the moving average of the parameters, or 0 for none [default: 0]
    #[arg(long, value_name = "VALUE", help_heading = OPTIMIZER, hide_short_help = true)]
    pub ema_decay: Option<f64>,
    /// Skip steps whose gradient norm is this many times the usual one, or 0 for never [default: 0]
    #[arg(long, value_name = "VALUE", help_heading = OPTIMIZER, hide_short_help = true)]
    pub spike_factor: Option<f64>,
    /// Number of consecutive skipped steps that end the run [default: 10]
    #[arg(long, value_name = "N", help_heading = OPTIMIZER, hide_short_help = true)]
    pub most_skipped: Option<u32>,

    /// Distribution of timesteps: uniform, logit-normal[:MEAN:STD] or resolution-shifted [default:
    /// logit-normal]
    #[arg(long, value_name = "DISTRIBUTION", help_heading = FLOW, hide_short_help = true)]
    pub timesteps: Option<String>,
    /// Weight of each timestep in the loss [default: none]
    #[arg(long, value_name = "WEIGHTING", value_enum, help_heading = FLOW, hide_short_help = true)]
    pub loss_weighting: Option<WeightingKind>,
    /// Parts of the forward pass to compute again in the backward pass [default: none, or blocks with
    /// --fused-update and for adapters on --images]
    #[arg(long, value_name = "PARTS", value_enum, help_heading = FLOW, hide_short_help = true)]
    pub recompute: Option<RecomputeKind>,
    /// Train the text encoder too [default: false]
    #[arg(
        long, value_name = "BOOL",
        num_args = 0..=1,
        default_missing_value = "true",
        help_heading = FLOW,
        hide_short_help = true
    )]
    pub train_text_encoder: Option<bool>,
    /// Share of prompts that are replaced with the empty one [default: 0.1]
    #[arg(long, value_name = "VALUE", help_heading = FLOW, hide_short_help = true)]
    pub prompt_dropout: Option<f32>,
    /// Number of text tokens that the transformer reads [default: 256]
    #[arg(long, value_name = "TOKENS", help_heading = FLOW, hide_short_help = true)]
    pub max_sequence_length: Option<usize>,
    /// Weight of the auxiliary term, which predicts the character at each place [default: 0]
    #[arg(long, value_name = "VALUE", help_heading = FLOW, hide_short_help = true)]
    pub auxiliary_weight: Option<f64>,
    /// Numbers of seen images between which the auxiliary term fades out: FROM,TO
    #[arg(long, value_name = "A,B", value_delimiter = ',', help_heading = FLOW, hide_short_help = true)]
    pub auxiliary_fade: Option<Vec<u64>>,

    /// Measure of the errors of pixels and edges [default: absolute]
    #[arg(long, value_name = "MEASURE", help_heading = AUTOENCODER, hide_short_help = true)]
    pub pixel_error: Option<PixelErrorKind>,
    /// Weight of errors at edges [default: 1]
    #[arg(long, value_name = "VALUE", help_heading = AUTOENCODER, hide_short_help = true)]
    pub edge_weight: Option<f64>,
    /// Weight of the divergence of the latents from a normal distribution [default: 1e-4]
    #[arg(long, value_name = "VALUE", help_heading = AUTOENCODER, hide_short_help = true)]
    pub kl_weight: Option<f64>,
    /// Train the encoder, too; false trains the decoder only [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = AUTOENCODER, hide_short_help = true)]
    pub train_encoder: Option<bool>,
    /// Number of drawn images whose latents are measured at the end [default: 2000]
    #[arg(long, value_name = "N", help_heading = AUTOENCODER, hide_short_help = true)]
    pub latent_images: Option<usize>,

    /// Images to read instead of drawing them: a manifest, its folder, or the folder of a cache
    #[arg(long, value_name = "PATH", help_heading = DATA)]
    pub data: Option<PathBuf>,
    /// Folder of images to read, with captions in text files of the same names
    ///
    /// May be repeated. DIR:2 is drawn twice as often as DIR.
    #[arg(long, value_name = "DIR[:WEIGHT]", value_delimiter = ',', help_heading = DATA)]
    pub images: Option<Vec<ImageFolder>>,
    /// Folder of regularization images (prior preservation): other images of the same class
    ///
    /// They have captions like --images. All of them together are drawn as often as all of --images.
    #[arg(long, value_name = "DIR[:WEIGHT]", value_delimiter = ',', help_heading = DATA, hide_short_help = true)]
    pub regularization_images: Option<Vec<ImageFolder>>,
    /// Weight of regularization images in the loss [default: 1]
    #[arg(long, value_name = "VALUE", help_heading = DATA, hide_short_help = true)]
    pub prior_weight: Option<f32>,
    /// Side of square --images in pixels [default: 1024]
    ///
    /// Other images get a size of about the same area.
    #[arg(long, value_name = "PIXELS", help_heading = DATA)]
    pub resolution: Option<u32>,
    /// Folder of masks for --images
    ///
    /// Only the white part of an image's mask counts in the loss.
    #[arg(long, value_name = "DIR", help_heading = DATA, hide_short_help = true)]
    pub masks: Option<PathBuf>,
    /// Use the opacity of --images as their masks [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = DATA, hide_short_help = true)]
    pub alpha_masks: Option<bool>,
    /// Shuffle the tags of captions, which commas separate [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true", help_heading = DATA, hide_short_help = true)]
    pub shuffle_tags: Option<bool>,
    /// Number of tags at the front of captions that are neither moved nor dropped [default: 0]
    ///
    /// The trigger word is never moved or dropped.
    #[arg(long, value_name = "N", help_heading = DATA, hide_short_help = true)]
    pub keep_tags: Option<usize>,
    /// Probability that a tag of a caption is left out [default: 0]
    #[arg(long, value_name = "VALUE", help_heading = DATA, hide_short_help = true)]
    pub tag_dropout: Option<f32>,
    /// Share of images to hold out for validation [default: 0.02, or 0 with --images]
    #[arg(long, value_name = "VALUE", help_heading = DATA, hide_short_help = true)]
    pub validation_share: Option<f64>,
    /// Languages of captions; an image that has several gets one of them at random [default: en,zh]
    #[arg(long, value_name = "LANGUAGE", value_enum, value_delimiter = ',', help_heading = DATA, hide_short_help = true)]
    pub languages: Option<Vec<CaptionLanguage>>,
    /// Preset of the drawn images, or a TOML file [default: signs]
    #[arg(long, value_name = "PRESET", help_heading = DATA)]
    pub preset: Option<String>,
    /// Sizes of the images; a batch has one of them [default: 128x128, or those of the data]
    #[arg(long, value_name = "WxH", value_delimiter = ',', help_heading = DATA)]
    pub sizes: Option<Vec<String>>,
    /// Fonts to draw with [default: all built-in ones]
    #[arg(long, value_name = "FONT", value_delimiter = ',', help_heading = DATA, hide_short_help = true)]
    pub fonts: Option<Vec<String>>,
    /// Texts to draw, by the number of images seen.
    #[arg(skip)]
    pub curriculum: Vec<CurriculumEntry>,

    /// Number of steps between validations, or 0 for none [default: 500]
    #[arg(long, value_name = "N", help_heading = OUTPUT, hide_short_help = true)]
    pub validate_every: Option<u64>,
    /// End the run after this many validations in a row without a new best one [default: 0]
    ///
    /// 0 never ends it early. The best models are exported, too, with -best in their name.
    #[arg(long, value_name = "N", help_heading = OUTPUT, hide_short_help = true)]
    pub patience: Option<u32>,
    /// Number of held-out images in a validation [default: 64]
    #[arg(long, value_name = "N", help_heading = OUTPUT, hide_short_help = true)]
    pub validation_images: Option<usize>,
    /// Minimum and maximum number of characters of held-out words [default: 3,7]
    #[arg(long, value_name = "A,B", value_delimiter = ',', help_heading = OUTPUT, hide_short_help = true)]
    pub validation_characters: Option<Vec<usize>>,
    /// Minimum and maximum number of lines of held-out images [default: 1,2]
    #[arg(long, value_name = "A,B", value_delimiter = ',', help_heading = OUTPUT, hide_short_help = true)]
    pub validation_lines: Option<Vec<usize>>,
    /// Number of steps between sample images, or 0 for none [default: 1000]
    #[arg(long, value_name = "N", help_heading = OUTPUT, hide_short_help = true)]
    pub sample_every: Option<u64>,
    /// Number of sample images [default: 16]
    #[arg(long, value_name = "N", help_heading = OUTPUT, hide_short_help = true)]
    pub samples: Option<usize>,
    /// Prompts of the sample images [default: held-out ones]
    #[arg(long, value_name = "TEXT", help_heading = OUTPUT, hide_short_help = true)]
    pub sample_prompts: Option<Vec<String>>,
    /// Number of denoising steps of sample images [default: 20]
    #[arg(long, value_name = "N", help_heading = OUTPUT, hide_short_help = true)]
    pub sample_steps: Option<usize>,
    /// Guidance scale of sample images [default: 1.5]
    #[arg(long, value_name = "VALUE", help_heading = OUTPUT, hide_short_help = true)]
    pub sample_guidance: Option<f32>,
    /// Number of steps between checkpoints, or 0 for none [default: 1000]
    #[arg(long, value_name = "N", help_heading = OUTPUT, hide_short_help = true)]
    pub checkpoint_every: Option<u64>,
    /// Number of minutes after which a checkpoint is also written, or 0 for never [default: 10]
    #[arg(long, value_name = "VALUE", help_heading = OUTPUT, hide_short_help = true)]
    pub checkpoint_minutes: Option<f64>,
    /// Also keep the checkpoints at multiples of this step, or 0 for none [default: 0]
    #[arg(long, value_name = "N", help_heading = OUTPUT, hide_short_help = true)]
    pub keep_every: Option<u64>,
    /// Number of steps between exports of the model, or 0 for the end only [default: 0]
    #[arg(long, value_name = "N", help_heading = OUTPUT, hide_short_help = true)]
    pub export_every: Option<u64>,
    /// Adapters, of `train lora`.
    #[arg(skip)]
    pub lora: Option<LoraSettings>,
}

const OPTIMIZER: &str = "Optimizer";
const FLOW: &str = "Flow matching";
const AUTOENCODER: &str = "Autoencoder";
const DATA: &str = "Images";
const OUTPUT: &str = "Validation, samples and checkpoints";

/// Maximum size of a settings file, in bytes.
const MOST_BYTES: u64 = 1 << 20;

impl Settings {
    /// Reads a settings file.
    ///
    /// # Errors
    /// Returns an error that names the file, and the line and key that are wrong.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = input_file::read(path, MOST_BYTES)
            .with_context(|| format!("cannot read the settings {}", path.display()))?;
        let text = String::from_utf8(bytes)
            .with_context(|| format!("{} is not UTF-8 text", path.display()))?;
        toml::from_str(&text).map_err(|error| {
            UsageError(format!(
                "{}: {}",
                path.display(),
                error.to_string().trim_end()
            ))
            .into()
        })
    }

    /// Rejects numbers that JSON cannot express: they would count as absent.
    pub(super) fn check_numbers(&self) -> Result<()> {
        let wide = |value: Option<f32>| value.map(f64::from);
        let beta = |index: usize| self.adam_betas.as_ref()?.get(index).copied();
        let numbers = [
            ("--learning-rate", self.learning_rate),
            ("--weight-decay", self.weight_decay),
            ("--adam-betas", beta(0)),
            ("--adam-betas", beta(1)),
            ("--adam-eps", self.adam_eps),
            ("--alpha", self.lora.as_ref().and_then(|lora| lora.alpha)),
            ("--max-grad-norm", self.max_grad_norm),
            ("--ema-decay", self.ema_decay),
            ("--spike-factor", self.spike_factor),
            ("--auxiliary-weight", self.auxiliary_weight),
            ("--edge-weight", self.edge_weight),
            ("--kl-weight", self.kl_weight),
            ("--checkpoint-minutes", self.checkpoint_minutes),
            ("--validation-share", self.validation_share),
            ("--prior-weight", wide(self.prior_weight)),
            ("--tag-dropout", wide(self.tag_dropout)),
            ("--prompt-dropout", wide(self.prompt_dropout)),
            ("--sample-guidance", wide(self.sample_guidance)),
        ];
        for (flag, value) in numbers {
            if let Some(value) = value.filter(|value| !value.is_finite()) {
                bail!(UsageError(format!(
                    "invalid {flag}: {value} is not a finite number"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Settings {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn unknown_keys_are_named_with_their_line() {
        let error = toml::from_str::<Settings>("output = 'r'\nlearning-pace = 1").unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("learning-pace") && error.contains("line 2"),
            "{error}"
        );
        let error = toml::from_str::<Settings>("[[curriculum]]\nletters = 3").unwrap_err();
        assert!(error.to_string().contains("letters"), "{error}");
    }

    #[test]
    fn a_curriculum_is_read() {
        let settings =
            parse("[[curriculum]]\nuntil-images = 5\ncharacters = [1, 2]\n[[curriculum]]");
        assert_eq!(settings.curriculum.len(), 2);
        assert_eq!(settings.curriculum[0].characters, Some([1, 2]));
    }
}
