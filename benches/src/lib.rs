//! Sizes that the benches share.

use ovis_image::config::{TransformerConfig, VaeConfig};

/// The middle size: an MMDiT of 768 = 6 heads of 128, 2 double and 8 single blocks.
pub fn middle_transformer() -> TransformerConfig {
    TransformerConfig {
        num_layers: 2,
        num_single_layers: 8,
        num_attention_heads: 6,
        joint_attention_dim: 512,
        ..TransformerConfig::ovis_image_7b()
    }
}

/// The release's VAE.
pub fn full_vae() -> VaeConfig {
    VaeConfig::ovis_image_7b()
}
