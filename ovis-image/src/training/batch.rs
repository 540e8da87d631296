use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

/// A batch of images of one size and their prompts, with the noise and timesteps that were drawn
/// for them, in f32.
#[derive(Debug, Clone)]
pub struct ImageBatch<B: Backend> {
    /// Clean packed latents, `[batch, tokens, channels]`.
    pub latents: Tensor<B, 3>,
    /// Noise, in the shape of the latents.
    pub noise: Tensor<B, 3>,
    /// Timestep of each image, from 0 (clean) to 1 (noise).
    pub timesteps: Vec<f32>,
    /// Rows and columns of patches.
    pub grid: [usize; 2],
    /// Prompts.
    pub prompts: PromptBatch<B>,
    /// Weight of each token in the loss, `[batch, tokens, 1]`; `None` weights all equally.
    pub token_weights: Option<Tensor<B, 3>>,
    /// Factor of each image's share of the loss, which is not divided by their sum; empty for 1.
    pub image_weights: Vec<f32>,
    /// Characters of the auxiliary term, `[batch, tokens * cells]`: 0 is blank.
    pub characters: Option<Tensor<B, 2, Int>>,
}

/// Prompts of a batch: encoded ones, or token ids for a text encoder that is trained as well.
#[derive(Debug, Clone)]
pub enum PromptBatch<B: Backend> {
    /// Text embeddings with their zero rows, `[batch, text tokens, context]`.
    Encoded(Tensor<B, 3>),
    /// Tokens of the rendered template.
    Tokens {
        /// Ids, `[batch, prefix + text tokens]`, padded on the right.
        input_ids: Tensor<B, 2, Int>,
        /// 1 for real tokens after the prefix and 0 for padding, `[batch, text tokens, 1]`.
        real: Tensor<B, 3>,
    },
}
