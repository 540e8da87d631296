use serde::{Deserialize, Serialize};

use super::{check_depth, check_sizes};
use crate::error::{OvisImageError, Result};

const PART: &str = "text encoder";

/// Sizes of the Qwen3 text encoder, as in transformers' `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawTextEncoderConfig")]
#[non_exhaustive]
pub struct TextEncoderConfig {
    /// Number of rows of the embedding table.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the SwiGLU feed-forward.
    pub intermediate_size: usize,
    /// Number of blocks.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads, which divides the number of query heads.
    pub num_key_value_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Base of the RoPE frequencies.
    pub rope_theta: f64,
    /// Epsilon of every RMSNorm.
    pub rms_norm_eps: f64,
}

/// JSON of a text encoder in all its variants: `rope_theta` at the top level (transformers 4) or
/// inside `rope_parameters` (transformers 5), with everything possibly inside `llm_config`
/// (Ovis2.5).
#[derive(Deserialize)]
struct RawTextEncoderConfig {
    #[serde(default)]
    llm_config: Option<Box<RawTextEncoderConfig>>,
    #[serde(default)]
    vocab_size: usize,
    #[serde(default)]
    hidden_size: usize,
    #[serde(default)]
    intermediate_size: usize,
    #[serde(default)]
    num_hidden_layers: usize,
    #[serde(default)]
    num_attention_heads: usize,
    #[serde(default)]
    num_key_value_heads: Option<usize>,
    #[serde(default)]
    head_dim: Option<usize>,
    #[serde(default)]
    rope_theta: Option<f64>,
    #[serde(default)]
    rope_parameters: Option<RopeParameters>,
    #[serde(default)]
    rms_norm_eps: Option<f64>,
    #[serde(default)]
    rope_scaling: Option<serde_json::Value>,
    #[serde(default)]
    use_sliding_window: Option<bool>,
    #[serde(default)]
    hidden_act: Option<String>,
    #[serde(default)]
    attention_bias: Option<bool>,
}

#[derive(Deserialize)]
struct RopeParameters {
    #[serde(default)]
    rope_theta: Option<f64>,
    #[serde(default)]
    rope_type: Option<String>,
}

impl RawTextEncoderConfig {
    /// First option that is set, would change the result and is not implemented.
    fn unsupported(&self) -> Option<&'static str> {
        let rope_type = self
            .rope_parameters
            .as_ref()
            .and_then(|rope| rope.rope_type.as_deref());
        let options = [
            ("rope_scaling", self.rope_scaling.is_some()),
            (
                "rope_parameters.rope_type other than default",
                rope_type.is_some_and(|kind| kind != "default"),
            ),
            ("use_sliding_window", self.use_sliding_window == Some(true)),
            (
                "hidden_act other than silu",
                self.hidden_act.as_deref().is_some_and(|act| act != "silu"),
            ),
            ("attention_bias", self.attention_bias == Some(true)),
        ];
        options.iter().find(|(_, set)| *set).map(|(name, _)| *name)
    }
}

impl TryFrom<RawTextEncoderConfig> for TextEncoderConfig {
    type Error = String;

    fn try_from(raw: RawTextEncoderConfig) -> Result<Self, String> {
        if let Some(inner) = raw.llm_config {
            return (*inner).try_into();
        }
        if let Some(option) = raw.unsupported() {
            return Err(format!("{option} is set, which is not supported"));
        }
        Ok(Self {
            vocab_size: raw.vocab_size,
            hidden_size: raw.hidden_size,
            intermediate_size: raw.intermediate_size,
            num_hidden_layers: raw.num_hidden_layers,
            num_attention_heads: raw.num_attention_heads,
            num_key_value_heads: raw.num_key_value_heads.unwrap_or(raw.num_attention_heads),
            // Default of Qwen3 if the file does not give it.
            head_dim: raw.head_dim.unwrap_or(128),
            rope_theta: raw
                .rope_parameters
                .and_then(|rope| rope.rope_theta)
                .or(raw.rope_theta)
                .unwrap_or(Self::QWEN3_ROPE_THETA),
            rms_norm_eps: raw.rms_norm_eps.unwrap_or(Self::QWEN3_RMS_NORM_EPS),
        })
    }
}

impl TextEncoderConfig {
    /// RoPE base of Qwen3, for checkpoints without a configuration.
    pub const QWEN3_ROPE_THETA: f64 = 1e6;
    /// RMSNorm epsilon of Qwen3, for checkpoints without a configuration.
    pub const QWEN3_RMS_NORM_EPS: f64 = 1e-6;

    /// Returns the configuration of the 7B release: the Qwen3-1.7B language model inside
    /// Ovis2.5-2B.
    pub fn ovis_image_7b() -> Self {
        Self {
            vocab_size: 151_936,
            hidden_size: 2048,
            intermediate_size: 6144,
            num_hidden_layers: 28,
            num_attention_heads: 16,
            num_key_value_heads: 8,
            head_dim: 128,
            rope_theta: Self::QWEN3_ROPE_THETA,
            rms_norm_eps: Self::QWEN3_RMS_NORM_EPS,
        }
    }

    /// Returns a configuration of two blocks and few parameters, for tests.
    ///
    /// It matches the `tiny` configurations of the other two models.
    pub fn tiny() -> Self {
        Self {
            vocab_size: 64,
            hidden_size: 24,
            intermediate_size: 32,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 8,
            ..Self::ovis_image_7b()
        }
    }

    /// Checks the relations between the sizes.
    ///
    /// # Errors
    /// Returns [`CheckpointError::InvalidConfig`](crate::error::CheckpointError::InvalidConfig)
    /// with the first relation that does not hold.
    pub fn validate(&self) -> Result<()> {
        check_depth(PART, "num_hidden_layers", self.num_hidden_layers)?;
        check_sizes(
            PART,
            &[
                ("vocab_size", self.vocab_size),
                ("hidden_size", self.hidden_size),
                ("intermediate_size", self.intermediate_size),
                ("num_hidden_layers", self.num_hidden_layers),
                ("num_attention_heads", self.num_attention_heads),
                ("num_key_value_heads", self.num_key_value_heads),
                ("head_dim", self.head_dim),
                (
                    "num_attention_heads * head_dim",
                    self.num_attention_heads.saturating_mul(self.head_dim),
                ),
            ],
        )?;
        let fail = |reason: String| Err(OvisImageError::config(PART, reason));
        if !self
            .num_attention_heads
            .is_multiple_of(self.num_key_value_heads)
        {
            return fail(format!(
                "num_attention_heads = {} is not a multiple of num_key_value_heads = {}",
                self.num_attention_heads, self.num_key_value_heads
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return fail(format!("head_dim = {} is not even", self.head_dim));
        }
        if !(self.rope_theta.is_finite() && self.rope_theta > 0.0) {
            return fail(format!(
                "rope_theta = {} is not a positive number",
                self.rope_theta
            ));
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            return fail(format!(
                "rms_norm_eps = {} is not a number of at least 0",
                self.rms_norm_eps
            ));
        }
        Ok(())
    }
}
