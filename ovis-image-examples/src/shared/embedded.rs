//! The embedded model: every part of the real one at a small size, trained to draw signs.

use ovis_image::{EmbeddedCheckpoint, GenerationRequest};

/// Default side of its images in pixels.
pub const SIDE: usize = 128;

/// Default number of denoising steps.
pub const STEPS: usize = 20;

/// Default guidance scale: of those that were tried, its letters are clearest.
pub const GUIDANCE_SCALE: f32 = 3.0;

/// Number of text tokens that it was trained with.
pub const MAX_SEQUENCE_LENGTH: usize = 64;

/// Notice to show before its images.
pub const NOTICE: &str = "the embedded model is small and draws only signs, such as '\"OPEN\" in white on a red sign' (choose a real one with --model)";

/// The files of `assets/nano`.
pub const EMBEDDED: EmbeddedCheckpoint = EmbeddedCheckpoint {
    transformer_config: include_str!("../../assets/nano/transformer/config.json"),
    transformer: include_bytes!(
        "../../assets/nano/transformer/diffusion_pytorch_model.safetensors"
    ),
    vae_config: include_str!("../../assets/nano/vae/config.json"),
    vae: include_bytes!("../../assets/nano/vae/diffusion_pytorch_model.safetensors"),
    text_encoder_config: include_str!("../../assets/nano/text_encoder/config.json"),
    text_encoder: include_bytes!("../../assets/nano/text_encoder/model.safetensors"),
    scheduler_config: include_str!("../../assets/nano/scheduler/scheduler_config.json"),
    tokenizer: include_bytes!("../../assets/nano/tokenizer/tokenizer.json"),
};

/// Sets a request to what suits the embedded model.
pub fn with_defaults(request: GenerationRequest) -> GenerationRequest {
    request
        .with_size(SIDE, SIDE)
        .with_num_inference_steps(STEPS)
        .with_guidance_scale(GUIDANCE_SCALE)
        .with_max_sequence_length(MAX_SEQUENCE_LENGTH)
}
