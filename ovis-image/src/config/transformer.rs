use serde::{Deserialize, Serialize};

use super::{TextEncoderConfig, VaeConfig, check_depth, check_sizes};
use crate::error::{OvisImageError, Result};

const PART: &str = "transformer";

/// Sizes of the MMDiT, as in diffusers' `transformer/config.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TransformerConfig {
    /// Side of the model's patches: 1, because latents are packed outside the model.
    #[serde(default = "default_patch_size")]
    pub patch_size: usize,
    /// Number of channels of an image token: latent channels times the four pixels of a patch.
    #[serde(default = "default_channels")]
    pub in_channels: usize,
    /// Number of channels of the prediction; `in_channels` if absent.
    #[serde(default)]
    pub out_channels: Option<usize>,
    /// Number of double-stream blocks.
    pub num_layers: usize,
    /// Number of single-stream blocks.
    pub num_single_layers: usize,
    /// Width of one attention head.
    pub attention_head_dim: usize,
    /// Number of attention heads.
    pub num_attention_heads: usize,
    /// Width of the text embeddings.
    pub joint_attention_dim: usize,
    /// RoPE dimensions of the three axes, which sum to the head width.
    pub axes_dims_rope: [usize; 3],
}

fn default_patch_size() -> usize {
    1
}

fn default_channels() -> usize {
    64
}

impl TransformerConfig {
    /// Base of the RoPE frequencies (diffusers: `OvisImagePosEmbed(theta=10000)`).
    pub const ROPE_THETA: f64 = 10_000.0;
    /// Width of the sinusoidal timestep embedding.
    pub const TIME_CHANNELS: usize = 256;
    /// Epsilon of every normalization in the MMDiT.
    pub const NORM_EPS: f64 = 1e-6;
    /// Ratio of the feed-forward width to the hidden width.
    pub const MLP_RATIO: usize = 4;

    /// Returns the configuration of the 7B release: 7,370,449,728 parameters.
    pub fn ovis_image_7b() -> Self {
        Self {
            patch_size: 1,
            in_channels: 64,
            out_channels: Some(64),
            num_layers: 6,
            num_single_layers: 27,
            attention_head_dim: 128,
            num_attention_heads: 24,
            joint_attention_dim: 2048,
            axes_dims_rope: [16, 56, 56],
        }
    }

    /// Returns a configuration of two blocks of each kind and few parameters, for tests.
    ///
    /// It matches the `tiny` configurations of the other two models.
    pub fn tiny() -> Self {
        Self {
            patch_size: 1,
            in_channels: 16,
            out_channels: None,
            num_layers: 2,
            num_single_layers: 2,
            attention_head_dim: 16,
            num_attention_heads: 2,
            joint_attention_dim: 24,
            axes_dims_rope: [4, 6, 6],
        }
    }

    /// Width of the residual streams.
    pub fn hidden_size(&self) -> usize {
        self.attention_head_dim * self.num_attention_heads
    }

    /// Width of the SwiGLU feed-forward.
    pub fn mlp_hidden_size(&self) -> usize {
        self.hidden_size() * Self::MLP_RATIO
    }

    /// Number of channels of the prediction.
    pub fn output_channels(&self) -> usize {
        self.out_channels.unwrap_or(self.in_channels)
    }

    /// Number of latent channels: the channels of a token divided by the four pixels of a patch.
    pub fn latent_channels(&self) -> usize {
        self.in_channels / 4
    }

    /// Checks that the other models of a checkpoint use the same latents and embeddings.
    ///
    /// # Errors
    /// Returns [`CheckpointError::InvalidConfig`](crate::error::CheckpointError::InvalidConfig)
    /// with the first relation that does not hold.
    pub fn validate_with(&self, vae: &VaeConfig, text_encoder: &TextEncoderConfig) -> Result<()> {
        let fail = |reason: String| Err(OvisImageError::config(PART, reason));
        if self.latent_channels() != vae.latent_channels {
            return fail(format!(
                "in_channels / 4 = {} != latent_channels = {} of the VAE: they belong to different models",
                self.latent_channels(),
                vae.latent_channels
            ));
        }
        if self.joint_attention_dim != text_encoder.hidden_size {
            return fail(format!(
                "joint_attention_dim = {} != hidden_size = {} of the text encoder: they belong to different models",
                self.joint_attention_dim, text_encoder.hidden_size
            ));
        }
        Ok(())
    }

    /// Checks the relations between the sizes.
    ///
    /// # Errors
    /// Returns [`CheckpointError::InvalidConfig`](crate::error::CheckpointError::InvalidConfig)
    /// with the first relation that does not hold.
    pub fn validate(&self) -> Result<()> {
        let fail = |reason: String| Err(OvisImageError::config(PART, reason));
        check_depth(PART, "num_layers", self.num_layers)?;
        check_depth(PART, "num_single_layers", self.num_single_layers)?;
        if self.patch_size != 1 {
            return fail(format!(
                "patch_size = {} is not supported, only 1",
                self.patch_size
            ));
        }
        check_sizes(
            PART,
            &[
                ("in_channels", self.in_channels),
                ("out_channels", self.output_channels()),
                ("attention_head_dim", self.attention_head_dim),
                ("num_attention_heads", self.num_attention_heads),
                ("joint_attention_dim", self.joint_attention_dim),
                (
                    "num_layers + num_single_layers",
                    self.num_layers.saturating_add(self.num_single_layers),
                ),
            ],
        )?;
        if !self.in_channels.is_multiple_of(4) {
            return fail(format!(
                "in_channels = {} is not a multiple of 4 (2x2 patches)",
                self.in_channels
            ));
        }
        if self.output_channels() != self.in_channels {
            return fail(format!(
                "out_channels = {} != in_channels = {}: the prediction must have the latents' shape",
                self.output_channels(),
                self.in_channels
            ));
        }
        let sum = self
            .axes_dims_rope
            .iter()
            .fold(0usize, |sum, axis| sum.saturating_add(*axis));
        if sum != self.attention_head_dim {
            return fail(format!(
                "sum(axes_dims_rope) = {sum} != attention_head_dim = {}",
                self.attention_head_dim
            ));
        }
        if let Some(odd) = self.axes_dims_rope.iter().find(|axis| *axis % 2 != 0) {
            return fail(format!("axes_dims_rope contains {odd}, which is not even"));
        }
        check_sizes(
            PART,
            &[
                ("hidden size", self.hidden_size()),
                ("mlp size", self.mlp_hidden_size()),
            ],
        )
    }
}
