//! The embedded model: every part of the real one, at small sizes and untrained.

use ovis_image::{EmbeddedCheckpoint, GenerationRequest};

/// Default side of its images in pixels.
pub const SIDE: usize = 256;

/// Default number of denoising steps.
pub const STEPS: usize = 20;

/// Notice to show before its images.
pub const NOTICE: &str = "the embedded model is small and untrained: its image is noise (choose a real one with --model)";

/// The files of `assets/tiny`.
pub const EMBEDDED: EmbeddedCheckpoint = EmbeddedCheckpoint {
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

/// Sets a request to what suits the embedded model.
pub fn with_defaults(request: GenerationRequest) -> GenerationRequest {
    request
        .with_size(SIDE, SIDE)
        .with_num_inference_steps(STEPS)
}
