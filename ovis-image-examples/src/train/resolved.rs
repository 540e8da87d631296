//! Effective settings of a run, defaults included, checked.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use ovis_image::WeightDtype;
use ovis_image::device::DeviceSpec;
use ovis_image::training::{
    AdafactorConfig, AdamWConfig, AutoencodingConfig, FlowMatchingConfig, LearningRate,
    LearningRateSchedule, LossWeighting, MasterWeights, OptimizerConfig, PixelError, Recomputation,
    TimestepDistribution, TrainerConfig, UpdateTime,
};
use serde::{Deserialize, Serialize};

use super::error::TrainError;
use super::lora_settings::LoraSettings;
use super::settings::{
    CurriculumEntry, OptimizerKind, PixelErrorKind, RecomputeKind, ScheduleKind, StageKind,
    WeightingKind,
};
use crate::shared::usage::UsageError;
use crate::training_data::CaptionLanguage;
use crate::training_data::folders::ImageFolder;

/// Effective settings. [`Settings`](super::settings::Settings) documents them.
#[allow(missing_docs, reason = "documented as flags")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Resolved {
    pub stage: StageKind,
    pub model: Option<PathBuf>,
    pub from_configs: Option<PathBuf>,
    pub vae: Option<PathBuf>,
    pub text_encoder: Option<PathBuf>,
    pub output: PathBuf,
    pub replay: Option<PathBuf>,
    pub seed: u64,
    pub device: String,
    pub dtype: String,
    pub threads: Option<u16>,
    pub data_threads: u16,
    pub steps: u64,
    /// Absent unless it determines the steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u32>,
    pub batch_size: usize,
    pub accumulation: u32,
    /// Absent for AdamW, as in the settings of earlier versions.
    #[serde(skip_serializing_if = "is_default")]
    pub optimizer: OptimizerKind,
    pub learning_rate: f64,
    pub lr_schedule: ScheduleKind,
    pub warmup_steps: u64,
    pub weight_decay: f64,
    pub adam_betas: Vec<f64>,
    pub adam_eps: f64,
    #[serde(skip_serializing_if = "is_false")]
    pub scale_parameter: bool,
    /// Absent if they are kept, as in the settings of earlier versions.
    #[serde(skip_serializing_if = "is_true")]
    pub master_weights: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub fused_update: bool,
    pub max_grad_norm: f64,
    pub ema_decay: f64,
    pub spike_factor: f64,
    pub most_skipped: u32,
    pub timesteps: String,
    pub loss_weighting: WeightingKind,
    pub recompute: RecomputeKind,
    pub train_text_encoder: bool,
    pub prompt_dropout: f32,
    pub max_sequence_length: usize,
    pub auxiliary_weight: f64,
    pub auxiliary_fade: Vec<u64>,
    pub pixel_error: PixelErrorKind,
    pub edge_weight: f64,
    pub kl_weight: f64,
    pub train_encoder: bool,
    pub latent_images: usize,
    /// Absent if images are drawn, as in the settings of earlier versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// Empty unless images are read from folders, and so are the next ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageFolder>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub regularization_images: Vec<ImageFolder>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prior_weight: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub masks: Option<PathBuf>,
    #[serde(skip_serializing_if = "is_false")]
    pub alpha_masks: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub shuffle_tags: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_tags: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag_dropout: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_share: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub languages: Vec<CaptionLanguage>,
    /// Hash of the rows of `data`, found when they are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_hash: Option<String>,
    /// Share of each size in the batches, if it is known. The others are as likely.
    #[serde(skip)]
    pub size_shares: Vec<f64>,
    pub preset: String,
    pub sizes: Vec<String>,
    pub fonts: Vec<String>,
    pub curriculum: Vec<CurriculumEntry>,
    pub validate_every: u64,
    /// Absent for never, as in the settings of earlier versions.
    #[serde(skip_serializing_if = "is_zero")]
    pub patience: u32,
    pub validation_images: usize,
    pub validation_characters: Vec<usize>,
    pub validation_lines: Vec<usize>,
    pub sample_every: u64,
    pub samples: usize,
    pub sample_prompts: Vec<String>,
    pub sample_steps: usize,
    pub sample_guidance: f32,
    pub checkpoint_every: u64,
    pub checkpoint_minutes: f64,
    pub keep_every: u64,
    pub export_every: u64,
    /// Absent unless adapters are trained, as in the settings of earlier versions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraSettings>,
}

impl Default for Resolved {
    fn default() -> Self {
        Self {
            stage: StageKind::Flow,
            model: None,
            from_configs: None,
            vae: None,
            text_encoder: None,
            output: PathBuf::new(),
            replay: None,
            seed: 0,
            device: "auto".to_owned(),
            dtype: "f32".to_owned(),
            threads: None,
            data_threads: 1,
            steps: 1000,
            epochs: None,
            batch_size: 16,
            accumulation: 1,
            optimizer: OptimizerKind::Adamw,
            learning_rate: 1e-4,
            lr_schedule: ScheduleKind::Constant,
            warmup_steps: 0,
            weight_decay: 0.01,
            adam_betas: vec![0.9, 0.95],
            adam_eps: 1e-8,
            scale_parameter: false,
            master_weights: true,
            fused_update: false,
            max_grad_norm: 1.0,
            ema_decay: 0.0,
            spike_factor: 0.0,
            most_skipped: 10,
            timesteps: "logit-normal".to_owned(),
            loss_weighting: WeightingKind::None,
            recompute: RecomputeKind::None,
            train_text_encoder: false,
            prompt_dropout: 0.1,
            max_sequence_length: 256,
            auxiliary_weight: 0.0,
            auxiliary_fade: Vec::new(),
            pixel_error: PixelErrorKind::Absolute,
            edge_weight: 1.0,
            kl_weight: 1e-4,
            train_encoder: true,
            latent_images: 2000,
            data: None,
            images: Vec::new(),
            regularization_images: Vec::new(),
            prior_weight: None,
            resolution: None,
            masks: None,
            alpha_masks: false,
            shuffle_tags: false,
            keep_tags: None,
            tag_dropout: None,
            validation_share: None,
            languages: Vec::new(),
            data_hash: None,
            size_shares: Vec::new(),
            preset: "signs".to_owned(),
            sizes: vec!["128x128".to_owned()],
            fonts: Vec::new(),
            curriculum: Vec::new(),
            validate_every: 500,
            patience: 0,
            validation_images: 64,
            validation_characters: vec![3, 7],
            validation_lines: vec![1, 2],
            sample_every: 1000,
            samples: 16,
            sample_prompts: Vec::new(),
            sample_steps: 20,
            sample_guidance: 1.5,
            checkpoint_every: 1000,
            checkpoint_minutes: 10.0,
            keep_every: 0,
            export_every: 0,
            lora: None,
        }
    }
}

/// Keys that do not change what a run computes.
const FREE: [&str; 24] = [
    "checkpoint-every",
    "checkpoint-minutes",
    "data",
    "data-threads",
    "device",
    "export-every",
    "from-configs",
    "images",
    "keep-every",
    "latent-images",
    "masks",
    "output",
    "patience",
    "regularization-images",
    "sample-every",
    "sample-guidance",
    "sample-prompts",
    "sample-steps",
    "samples",
    "threads",
    "validate-every",
    "validation-characters",
    "validation-images",
    "validation-lines",
];

impl Resolved {
    /// Checks everything that requires no files.
    pub(super) fn check(&self) -> Result<()> {
        if self.output.as_os_str().is_empty() {
            bail!(UsageError::new(
                "no folder for the run: name one with --output"
            ));
        }
        match (&self.model, &self.from_configs) {
            (None, None) => bail!(UsageError::new(
                "nothing to train: name a checkpoint with --model, or configurations with --from-configs"
            )),
            (Some(_), Some(_)) => bail!(UsageError::new(
                "--model and --from-configs exclude one another"
            )),
            _ => {}
        }
        self.check_numbers()?;
        if self.batch_size == 0 || self.sizes.is_empty() && !self.reads_images() {
            bail!(TrainError::EmptyBucket);
        }
        for (flag, threads) in [
            ("--threads", self.threads),
            ("--data-threads", Some(self.data_threads)),
        ] {
            if threads == Some(0) {
                bail!(UsageError(format!("{flag} must be at least 1")));
            }
        }
        if let Some(lora) = &self.lora {
            self.check_lora(lora)?;
        }
        self.check_updates()?;
        self.check_data()?;
        self.check_folders()?;
        self.check_patience()?;
        self.buckets()?;
        self.check_curriculum()?;
        self.timestep_distribution()?;
        self.weight_dtype()?;
        self.device_spec()?;
        self.trainer_config().validate()?;
        Ok(())
    }

    /// Checks pairs of numbers and shares.
    fn check_numbers(&self) -> Result<()> {
        if self.adam_betas.len() != 2 {
            bail!(UsageError::new(
                "--adam-betas takes two numbers, such as 0.9,0.95"
            ));
        }
        for (name, range) in [
            ("--validation-characters", &self.validation_characters),
            ("--validation-lines", &self.validation_lines),
        ] {
            if range.len() != 2 {
                bail!(UsageError(format!("{name} takes two numbers, such as 1,2")));
            }
        }
        let fade = &self.auxiliary_fade;
        if !(fade.is_empty() || fade.len() == 2 && fade[0] < fade[1]) {
            bail!(UsageError::new(
                "--auxiliary-fade takes two rising numbers of images"
            ));
        }
        let shares = [
            ("--prompt-dropout", f64::from(self.prompt_dropout)),
            ("--auxiliary-weight", self.auxiliary_weight),
            ("--edge-weight", self.edge_weight),
            ("--kl-weight", self.kl_weight),
            ("--checkpoint-minutes", self.checkpoint_minutes),
        ];
        for (name, value) in shares {
            if !(value.is_finite() && value >= 0.0) {
                bail!(UsageError(format!(
                    "invalid {name}: {value} is negative or not a finite number"
                )));
            }
        }
        if self.prompt_dropout > 1.0 {
            bail!(UsageError::new("--prompt-dropout is above 1"));
        }
        Ok(())
    }

    /// Checks that a run that waits for better validations has some.
    fn check_patience(&self) -> Result<()> {
        let held_out =
            !self.reads_images() || self.validation_share.is_some_and(|share| share > 0.0);
        let validates = self.validate_every > 0
            && self.validation_images > 0
            && self.replay.is_none()
            && held_out;
        if self.patience > 0 && !validates {
            bail!(UsageError::new(
                "--patience needs validations: set --validation-share, --validate-every and \
                 --validation-images above 0"
            ));
        }
        Ok(())
    }

    /// Checks settings of updates that exclude one another.
    fn check_updates(&self) -> Result<()> {
        let adapts = self.lora.is_some();
        let in_f32 = adapts || self.stage == StageKind::Autoencoder;
        if !self.master_weights && (in_f32 || self.dtype != "bf16") {
            let why = match (adapts, in_f32) {
                (true, _) => "adapters are trained in f32",
                (false, true) => "the VAE is trained in f32",
                (false, false) => "set --dtype bf16",
            };
            bail!(UsageError(format!(
                "--master-weights false is for weights in bf16: {why}, or leave it out"
            )));
        }
        if !self.fused_update {
            return Ok(());
        }
        if in_f32 {
            bail!(UsageError::new(
                "--fused-update is for the whole transformer, in --stage flow without adapters: \
                 leave it out"
            ));
        }
        for (flag, given) in [
            ("--max-grad-norm", self.max_grad_norm != 0.0),
            ("--spike-factor", self.spike_factor != 0.0),
            ("--accumulation", self.accumulation > 1),
            ("--recompute none", self.recompute == RecomputeKind::None),
        ] {
            if given {
                bail!(UsageError(format!(
                    "{flag} needs all gradients of a step, but --fused-update drops those of a \
                     block before it computes the next: leave out one of the two"
                )));
            }
        }
        Ok(())
    }

    fn check_lora(&self, lora: &LoraSettings) -> Result<()> {
        if self.model.is_none() {
            bail!(UsageError::new(
                "no model for the adapters: name a checkpoint with --model"
            ));
        }
        if self.train_text_encoder {
            bail!(UsageError::new(
                "--train-text-encoder cannot be used with adapters, which change the transformer only"
            ));
        }
        lora.check()
    }

    fn check_curriculum(&self) -> Result<()> {
        let Some((_, earlier)) = self.curriculum.split_last() else {
            return Ok(());
        };
        let ends: Vec<Option<u64>> = earlier.iter().map(|entry| entry.until_images).collect();
        let rises = ends.windows(2).all(|pair| pair[0] < pair[1]);
        if ends.iter().any(Option::is_none) || !rises {
            bail!(UsageError::new(
                "each entry of the curriculum but the last needs until-images, larger than the one before"
            ));
        }
        Ok(())
    }

    /// Returns true if images are read and not drawn.
    pub fn reads_images(&self) -> bool {
        self.data.is_some() || !self.images.is_empty()
    }

    /// Returns the sizes of images, width and height.
    ///
    /// # Errors
    /// Returns an error that names a size that cannot be read.
    pub fn buckets(&self) -> Result<Vec<[u32; 2]>> {
        let read = |size: &String| {
            let sides = size.split_once('x');
            let sides = sides.and_then(|(w, h)| Some([w.parse().ok()?, h.parse().ok()?]));
            match sides {
                Some([width, height]) if width > 0 && height > 0 => Ok([width, height]),
                _ => Err(UsageError(format!(
                    "`{size}` is not a size such as 128x128 (--sizes)"
                ))),
            }
        };
        Ok(self.sizes.iter().map(read).collect::<Result<_, _>>()?)
    }

    /// Returns the timestep distribution.
    ///
    /// # Errors
    /// Returns the error of reading it.
    pub fn timestep_distribution(&self) -> Result<TimestepDistribution> {
        Ok(self.timesteps.parse()?)
    }

    /// Returns the precision of the trained models.
    ///
    /// # Errors
    /// Returns an error if it is neither f32 nor bf16.
    pub fn weight_dtype(&self) -> Result<WeightDtype> {
        let dtype = self.dtype.parse()?;
        if dtype == WeightDtype::F16 {
            bail!(UsageError::new(
                "gradients overflow in f16: train in f32 or bf16 (--dtype)"
            ));
        }
        Ok(dtype)
    }

    /// Returns the device.
    ///
    /// # Errors
    /// Returns the error of reading its name.
    pub fn device_spec(&self) -> Result<DeviceSpec> {
        Ok(self.device.parse()?)
    }

    /// Returns the settings of the trainer.
    pub fn trainer_config(&self) -> TrainerConfig {
        let given = |value: f64| (value != 0.0).then_some(value);
        TrainerConfig {
            total_steps: self.steps,
            learning_rate: LearningRate {
                peak: self.learning_rate,
                warmup_steps: self.warmup_steps,
                schedule: match self.lr_schedule {
                    ScheduleKind::Constant => LearningRateSchedule::Constant,
                    ScheduleKind::Cosine => LearningRateSchedule::Cosine,
                    ScheduleKind::Linear => LearningRateSchedule::Linear,
                },
            },
            optimizer: self.optimizer_config(),
            master_weights: match self.master_weights {
                true => MasterWeights::F32,
                false => MasterWeights::StochasticRounding { seed: self.seed },
            },
            update_time: match self.fused_update {
                true => UpdateTime::DuringBackward,
                false => UpdateTime::AfterBackward,
            },
            max_grad_norm: given(self.max_grad_norm),
            accumulation: self.accumulation,
            ema_decay: given(self.ema_decay),
            spike_factor: given(self.spike_factor),
            most_skipped: self.most_skipped,
        }
    }

    /// Returns the optimizer and its constants.
    pub fn optimizer_config(&self) -> OptimizerConfig {
        let beta = |index: usize| self.adam_betas.get(index).copied().unwrap_or(f64::NAN);
        let adamw = AdamWConfig {
            betas: [beta(0), beta(1)],
            eps: self.adam_eps,
            weight_decay: self.weight_decay,
        };
        match self.optimizer {
            OptimizerKind::Adamw => OptimizerConfig::AdamW(adamw),
            OptimizerKind::Adamw8bit => OptimizerConfig::AdamW8bit(adamw),
            OptimizerKind::Adafactor => OptimizerConfig::Adafactor(AdafactorConfig {
                scale_parameter: self.scale_parameter,
                weight_decay: self.weight_decay,
                ..AdafactorConfig::default()
            }),
        }
    }

    /// Returns the settings of flow matching.
    pub fn flow_matching(&self) -> FlowMatchingConfig {
        FlowMatchingConfig {
            recomputation: match self.recompute {
                RecomputeKind::None => Recomputation::None,
                RecomputeKind::Blocks => Recomputation::Blocks,
            },
            loss_weighting: match self.loss_weighting {
                WeightingKind::None => LossWeighting::None,
                WeightingKind::SigmaSqrt => LossWeighting::SigmaSqrt,
                WeightingKind::Cosmap => LossWeighting::Cosmap,
            },
            auxiliary_weight: self.auxiliary_weight,
        }
    }

    /// Returns the settings of the autoencoder's losses.
    pub fn autoencoding(&self) -> AutoencodingConfig {
        AutoencodingConfig {
            pixel_error: match self.pixel_error {
                PixelErrorKind::Absolute => PixelError::Absolute,
                PixelErrorKind::Squared => PixelError::Squared,
            },
            edge_weight: self.edge_weight,
            kl_weight: self.kl_weight,
            train_encoder: self.train_encoder,
        }
    }

    /// Returns the weight of the auxiliary term after a number of images.
    pub fn auxiliary_weight_at(&self, images: u64) -> f64 {
        let [from, to] = self.auxiliary_fade[..] else {
            return self.auxiliary_weight;
        };
        let gone = images.saturating_sub(from) as f64 / (to - from) as f64;
        self.auxiliary_weight * (1.0 - gone).max(0.0)
    }

    /// Returns the settings that change what a run computes.
    pub(super) fn deciding(&self) -> Result<serde_json::Value> {
        let mut settings = serde_json::to_value(self)?;
        if let Some(settings) = settings.as_object_mut() {
            settings.retain(|key, _| !FREE.contains(&key.as_str()));
        }
        Ok(settings)
    }

    /// Describes the settings that differ and change what a run computes, one per line.
    pub fn differences(&self, before: &serde_json::Value) -> Vec<String> {
        let now = serde_json::to_value(self).unwrap_or_default();
        let keys = now.as_object().into_iter().flatten();
        let none = &serde_json::Value::Null;
        let gone = before.as_object().into_iter().flatten();
        let gone = gone.filter(|(key, value)| now.get(key.as_str()).is_none() && *value != none);
        let all = keys.chain(gone.map(|(key, _)| (key, none)));
        let changed = all.filter(|(key, _)| !FREE.contains(&key.as_str()));
        let changed = changed.filter(|(key, value)| before.get(key) != Some(value));
        changed
            .map(|(key, value)| {
                let before = before.get(key).unwrap_or(&serde_json::Value::Null);
                format!("  {key}: {before} before, {value} now")
            })
            .collect()
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_false(value: &bool) -> bool {
    !value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_true(value: &bool) -> bool {
    *value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// Finds a part that is given as its own folder or as a checkpoint that contains it.
pub(super) fn part_of(folder: &Path, part: &str) -> PathBuf {
    let inner = folder.join(part);
    if inner.exists() {
        inner
    } else {
        folder.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved() -> Resolved {
        Resolved {
            output: "run".into(),
            model: Some("model".into()),
            ..Resolved::default()
        }
    }

    #[test]
    fn the_defaults_are_valid_and_mistakes_are_named() {
        resolved().check().unwrap();
        let refuse = |change: fn(&mut Resolved), word: &str| {
            let mut changed = resolved();
            change(&mut changed);
            let error = changed.check().unwrap_err();
            let error = crate::shared::error_chain::one_line(&error);
            assert!(error.contains(word), "{word}: {error}");
        };
        refuse(|r| r.output = PathBuf::new(), "--output");
        refuse(|r| r.model = None, "--from-configs");
        refuse(|r| r.learning_rate = f64::NAN, "--learning-rate");
        refuse(|r| r.adam_betas = vec![0.9], "--adam-betas");
        refuse(|r| r.sizes = vec!["12".into()], "--sizes");
        refuse(|r| r.sizes = Vec::new(), "bucket");
        refuse(|r| r.batch_size = 0, "bucket");
        refuse(|r| r.timesteps = "some".into(), "--timesteps");
        refuse(|r| r.dtype = "f16".into(), "f16");
        refuse(|r| r.device = "gpu9".into(), "gpu9");
        refuse(|r| r.master_weights = false, "--dtype bf16");
        refuse(|r| r.fused_update = true, "--max-grad-norm");
        refuse(|r| r.auxiliary_fade = vec![2, 1], "--auxiliary-fade");
        refuse(
            |r| {
                let entry = CurriculumEntry {
                    until_images: None,
                    characters: None,
                    lines: None,
                    fonts: Vec::new(),
                };
                r.curriculum = vec![entry.clone(), entry];
            },
            "until-images",
        );
    }

    #[test]
    fn the_auxiliary_term_fades_between_two_numbers_of_images() {
        let resolved = Resolved {
            auxiliary_weight: 0.5,
            auxiliary_fade: vec![100, 200],
            ..resolved()
        };
        let at = |images| resolved.auxiliary_weight_at(images);
        assert_eq!(
            [at(0), at(100), at(150), at(200), at(900)],
            [0.5, 0.5, 0.25, 0.0, 0.0]
        );
    }

    #[test]
    fn only_settings_that_change_numbers_are_differences() {
        let before = serde_json::to_value(resolved()).unwrap();
        let mut now = resolved();
        now.threads = Some(1);
        now.checkpoint_every = 7;
        assert!(now.differences(&before).is_empty());
        now.learning_rate = 0.5;
        let lines = now.differences(&before);
        assert_eq!(lines, ["  learning-rate: 0.0001 before, 0.5 now"]);
    }
}
