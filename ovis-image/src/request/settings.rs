use serde::{Deserialize, Serialize};

use super::GenerationParameters;
use crate::config::WeightDtype;
use crate::images::SourceSettings;
use crate::lora::ActiveLora;

/// Settings of a result: its request's parameters with defaults and `auto` values resolved, and the
/// facts that the pipeline adds. They serialize to one flat JSON object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GenerationSettings {
    /// Parameters that the generation used.
    #[serde(flatten)]
    pub parameters: GenerationParameters,
    /// Token counts of each prompt, including truncated tokens.
    pub prompt_reports: Vec<PromptReport>,
    /// Settings of the source image, if there was one.
    #[serde(default)]
    pub source: Option<SourceSettings>,
    /// Sigmas of the steps that ran, one more than there are steps.
    pub sigmas: Vec<f32>,
    /// Size and sigmas of the second pass, if there was one.
    #[serde(default)]
    pub second_pass_run: Option<SecondPassRun>,
    /// Dtype of the transformer.
    pub dtype: WeightDtype,
    /// Dtype of the VAE.
    pub vae_dtype: WeightDtype,
    /// LoRAs on the transformer, by name.
    pub loras: Vec<ActiveLora>,
    /// Name of the backend in Burn.
    pub backend: String,
}

/// Size and sigmas of a second pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SecondPassRun {
    /// Width of the result in pixels.
    pub width: usize,
    /// Height of the result in pixels.
    pub height: usize,
    /// Sigmas of the steps that ran, one more than there are steps.
    pub sigmas: Vec<f32>,
}

impl SecondPassRun {
    pub(crate) fn new((width, height): (usize, usize), sigmas: Vec<f32>) -> Self {
        Self {
            width,
            height,
            sigmas,
        }
    }
}

/// Token counts of one prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PromptReport {
    /// Number of tokens used, including those of the template.
    pub tokens: usize,
    /// Number of tokens that did not fit and were truncated.
    pub truncated_tokens: usize,
}
