use burn::tensor::backend::Backend;

use super::denoise::DenoisingStep;

/// What the pipeline is doing, for a progress callback. Returning
/// [`ControlFlow::Break`](std::ops::ControlFlow::Break) stops it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Progress<'a, B: Backend> {
    /// The prompts are about to be encoded.
    EncodingPrompts {
        /// How many, negative ones included.
        prompts: usize,
        /// Denoising steps that will follow.
        total_steps: usize,
    },
    /// A step was finished.
    Denoising(&'a DenoisingStep<B>),
    /// The latents are about to be decoded.
    DecodingLatents {
        /// How many images.
        images: usize,
    },
}
