use burn::tensor::backend::Backend;

use super::denoise::DenoisingStep;

/// Progress of a generation, as passed to a callback. If the callback returns
/// [`ControlFlow::Break`](std::ops::ControlFlow::Break), the generation is canceled.
#[derive(Debug)]
#[non_exhaustive]
pub enum Progress<'a, B: Backend> {
    /// The prompts are about to be encoded.
    EncodingPrompts {
        /// Number of prompts, including negative ones.
        prompts: usize,
        /// Number of denoising steps that will follow, of both passes if there are two.
        total_steps: usize,
    },
    /// A denoising step has finished.
    Denoising(&'a DenoisingStep<B>),
    /// The first pass has finished, and its images are about to be upscaled for the second, whose
    /// steps are counted anew.
    Upscaling {
        /// Width of the second pass in pixels.
        width: usize,
        /// Height of the second pass in pixels.
        height: usize,
        /// Number of steps of the second pass.
        steps: usize,
    },
    /// The latents are about to be decoded.
    DecodingLatents {
        /// Number of images to decode.
        images: usize,
    },
}
