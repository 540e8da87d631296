use serde::{Deserialize, Serialize};

use super::{check_depth, check_sizes};
use crate::error::{OvisImageError, Result};

const PART: &str = "VAE";

/// Sizes of the autoencoder, as in diffusers' `vae/config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct VaeConfig {
    /// Number of channels of an image: 3.
    #[serde(default = "three")]
    pub in_channels: usize,
    /// Number of channels of a decoded image: 3.
    #[serde(default = "three")]
    pub out_channels: usize,
    /// Number of latent channels.
    pub latent_channels: usize,
    /// Width of each level, from the pixels inward. Each level but the last halves the size.
    pub block_out_channels: Vec<usize>,
    /// Number of residual blocks per level of the encoder; the decoder has one more.
    #[serde(default = "one")]
    pub layers_per_block: usize,
    /// Number of groups of each GroupNorm.
    #[serde(default = "thirty_two")]
    pub norm_num_groups: usize,
    /// Factor of the latents: the transformer reads `(latent - shift_factor) * scaling_factor`.
    #[serde(default = "flux_scaling_factor")]
    pub scaling_factor: f64,
    /// Shift of the latents; see [`scaling_factor`](Self::scaling_factor).
    #[serde(default)]
    pub shift_factor: Option<f64>,
    /// Whether a 1x1 convolution follows the encoder. FLUX's VAE has none: must be false.
    #[serde(default = "yes")]
    pub use_quant_conv: bool,
    /// Whether a 1x1 convolution precedes the decoder. FLUX's VAE has none: must be false.
    #[serde(default = "yes")]
    pub use_post_quant_conv: bool,
    /// Whether the middle block has attention. Must be true.
    #[serde(default = "yes")]
    pub mid_block_add_attention: bool,
}

// Defaults of diffusers for absent keys.
fn one() -> usize {
    1
}
fn three() -> usize {
    3
}
fn thirty_two() -> usize {
    32
}
fn yes() -> bool {
    true
}
fn flux_scaling_factor() -> f64 {
    0.18215
}

impl VaeConfig {
    /// Epsilon of every GroupNorm.
    pub const NORM_EPS: f64 = 1e-6;

    /// Returns the configuration of FLUX.1-schnell's VAE, which the 7B release uses.
    pub fn ovis_image_7b() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            latent_channels: 16,
            block_out_channels: vec![128, 256, 512, 512],
            layers_per_block: 2,
            norm_num_groups: 32,
            scaling_factor: 0.3611,
            shift_factor: Some(0.1159),
            use_quant_conv: false,
            use_post_quant_conv: false,
            mid_block_add_attention: true,
        }
    }

    /// Returns a configuration of two levels and few parameters, for tests.
    ///
    /// It matches the `tiny` configurations of the other two models.
    pub fn tiny() -> Self {
        Self {
            latent_channels: 4,
            block_out_channels: vec![8, 16],
            layers_per_block: 1,
            norm_num_groups: 4,
            ..Self::ovis_image_7b()
        }
    }

    /// Number of pixels per latent along one side: 8 with the four levels of the release.
    pub fn scale_factor(&self) -> usize {
        1 << self.block_out_channels.len().saturating_sub(1).min(16)
    }

    /// Shift of the latents, 0 if the file does not give one.
    pub fn shift(&self) -> f64 {
        self.shift_factor.unwrap_or(0.0)
    }

    /// Checks the relations between the sizes.
    ///
    /// # Errors
    /// Returns [`CheckpointError::InvalidConfig`](crate::error::CheckpointError::InvalidConfig)
    /// with the first relation that does not hold.
    pub fn validate(&self) -> Result<()> {
        let fail = |reason: String| Err(OvisImageError::config(PART, reason));
        check_depth(PART, "layers_per_block", self.layers_per_block)?;
        check_sizes(
            PART,
            &[
                ("latent_channels", self.latent_channels),
                ("layers_per_block", self.layers_per_block),
                ("norm_num_groups", self.norm_num_groups),
                ("len(block_out_channels)", self.block_out_channels.len()),
            ],
        )?;
        if self.in_channels != 3 || self.out_channels != 3 {
            return fail(format!(
                "in_channels = {}, out_channels = {}: both must be 3 (RGB)",
                self.in_channels, self.out_channels
            ));
        }
        if self.block_out_channels.len() > 8 {
            return fail(format!(
                "{} levels in block_out_channels, at most 8 are supported",
                self.block_out_channels.len()
            ));
        }
        for channels in &self.block_out_channels {
            check_sizes(PART, &[("block_out_channels", *channels)])?;
            if channels % self.norm_num_groups != 0 {
                return fail(format!(
                    "block_out_channels contains {channels}, not a multiple of norm_num_groups = {}",
                    self.norm_num_groups
                ));
            }
        }
        if !(self.scaling_factor.is_finite()
            && self.scaling_factor != 0.0
            && self.shift().is_finite())
        {
            return fail(format!(
                "scaling_factor = {}, shift_factor = {}: both must be finite, the first not 0",
                self.scaling_factor,
                self.shift()
            ));
        }
        if self.use_quant_conv || self.use_post_quant_conv {
            return fail(
                "use_quant_conv and use_post_quant_conv must be false: FLUX's VAE has neither"
                    .into(),
            );
        }
        if !self.mid_block_add_attention {
            return fail("mid_block_add_attention must be true".into());
        }
        Ok(())
    }
}
