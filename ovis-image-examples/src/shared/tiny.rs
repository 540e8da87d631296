//! The model that is part of the programs: every part of the real one at small sizes.

use ovis_image::EmbeddedCheckpoint;

/// Its sides in pixels unless asked otherwise.
pub const SIDE: usize = 256;

/// Its steps unless asked otherwise.
pub const STEPS: usize = 20;

/// What there is to know before looking at its pictures.
pub const NOTICE: &str = "the embedded model is small and untrained: its picture is noise (give a real one with --model)";

/// The files of `assets/tiny`.
pub const TINY: EmbeddedCheckpoint = EmbeddedCheckpoint {
    transformer_config: include_str!("../../assets/tiny/transformer/config.json"),
    transformer: include_bytes!(
        "../../assets/tiny/transformer/diffusion_pytorch_model.safetensors"
    ),
    vae_config: include_str!("../../assets/tiny/vae/config.json"),
    vae: include_bytes!("../../assets/tiny/vae/diffusion_pytorch_model.safetensors"),
    text_encoder_config: include_str!("../../assets/tiny/text_encoder/config.json"),
    text_encoder: include_bytes!("../../assets/tiny/text_encoder/model.safetensors"),
    scheduler_config: include_str!("../../assets/tiny/scheduler/scheduler_config.json"),
    tokenizer: include_bytes!("../../assets/tiny/tokenizer/tokenizer.json"),
};
