use serde::{Deserialize, Serialize};

use super::GenerationParameters;
use crate::config::WeightDtype;
use crate::images::SourceSettings;
use crate::lora::ActiveLora;

/// The settings of a result: its request's parameters with defaults and `auto` values filled in,
/// and what the pipeline adds. As JSON it is one flat object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GenerationSettings {
    /// The parameters that were really used.
    #[serde(flatten)]
    pub parameters: GenerationParameters,
    /// What the tokenizer made of each prompt, the cut tokens included.
    pub prompt_reports: Vec<PromptReport>,
    /// How a source image was used.
    #[serde(default)]
    pub source: Option<SourceSettings>,
    /// The sigmas of the steps that were taken, one more than those.
    pub sigmas: Vec<f32>,
    /// Dtype of the transformer.
    pub dtype: WeightDtype,
    /// Dtype of the VAE.
    pub vae_dtype: WeightDtype,
    /// The LoRAs on the transformer, by name.
    pub loras: Vec<ActiveLora>,
    /// Burn's name of the backend.
    pub backend: String,
}

/// What the tokenizer made of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PromptReport {
    /// Number of tokens that were used, the template's included.
    pub tokens: usize,
    /// Number of tokens that did not fit and were dropped.
    pub truncated_tokens: usize,
}
