use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Int, Tensor};

use super::TextBlock;
use crate::config::TextEncoderConfig;
use crate::layers::{RmsNormLayer, fold_blocks, stream_absent_weights, uniform_param};
use crate::ops::{AttentionMask, RotaryTable};

/// Qwen3 language model up to its final norm (transformers: `Qwen3Model`).
#[derive(Module, Debug)]
pub struct TextEncoder<B: Backend> {
    /// Embedding table, `[vocab, hidden]`.
    pub embedding: Param<Tensor<B, 2>>,
    /// Transformer blocks in order.
    pub blocks: Vec<TextBlock<B>>,
    /// Norm after the last block.
    pub final_norm: RmsNormLayer<B>,
    head_dim: usize,
    pub(super) rope_theta: f64,
}

/// Input of the text encoder.
#[derive(Debug, Clone)]
pub struct TextEncoderInput<B: Backend> {
    /// Token ids, `[batch, tokens]`, padded on the right where lengths differ.
    pub input_ids: Tensor<B, 2, Int>,
    /// Mask that is true for real tokens, `[batch, tokens]`; `None` if all tokens are real.
    pub attention_mask: Option<Tensor<B, 2, Bool>>,
}

impl TextEncoderConfig {
    /// Builds the encoder with lazy random weights: nothing is allocated before first use.
    ///
    /// # Panics
    /// May panic, here or on first use, if the configuration fails [`validate`](Self::validate).
    pub fn init<B: Backend>(&self, device: &B::Device) -> TextEncoder<B> {
        let bound = 1.0 / (self.hidden_size as f64).sqrt();
        TextEncoder {
            embedding: uniform_param([self.vocab_size, self.hidden_size], bound, device),
            blocks: (0..self.num_hidden_layers)
                .map(|_| TextBlock::new(self, device))
                .collect(),
            final_norm: RmsNormLayer::new(self.hidden_size, self.rms_norm_eps, device),
            head_dim: self.head_dim,
            rope_theta: self.rope_theta,
        }
    }
}

impl<B: Backend> TextEncoder<B> {
    /// Marks the blocks that have unloaded weights as streamed.
    pub(crate) fn stream_absent_weights(&mut self) {
        stream_absent_weights(&mut self.blocks);
    }
}

impl<B: Backend> TextEncoder<B> {
    /// Computes the last hidden state after the final norm.
    ///
    /// The rows of padding are meaningless. The real rows do not depend on them, because attention
    /// is causal and padding stands on the right.
    ///
    /// # Shapes
    /// - output: `[batch, tokens, hidden]`
    pub fn forward(&self, input: TextEncoderInput<B>) -> Tensor<B, 3> {
        let [batch, tokens] = input.input_ids.dims();
        let table = self.embedding.val();
        let [_, hidden] = table.dims();
        let embeds = table
            .select(0, input.input_ids.reshape([batch * tokens]))
            .reshape([batch, tokens, hidden]);
        self.forward_embeds(embeds, input.attention_mask)
    }

    /// Like [`forward`](Self::forward), from the tokens' rows of the embedding table (transformers:
    /// `inputs_embeds`), so that the table itself need not be on the device.
    ///
    /// # Shapes
    /// - `inputs_embeds` and output: `[batch, tokens, hidden]`
    /// - `attention_mask`: same as [`TextEncoderInput::attention_mask`]
    pub fn forward_embeds(
        &self,
        inputs_embeds: Tensor<B, 3>,
        attention_mask: Option<Tensor<B, 2, Bool>>,
    ) -> Tensor<B, 3> {
        let [_, tokens, _] = inputs_embeds.dims();
        let device = inputs_embeds.device();
        let mask = match attention_mask {
            None => AttentionMask::Causal,
            Some(real) => AttentionMask::Hidden(causal_padding_mask(real)),
        };
        let positions: Vec<[f64; 1]> = (0..tokens).map(|position| [position as f64]).collect();
        let rope =
            RotaryTable::from_positions(&positions, &[self.head_dim], self.rope_theta, &device);

        let hidden_states = fold_blocks(&self.blocks, inputs_embeds, |hidden_states, _, block| {
            block.forward(hidden_states, &rope, mask.clone())
        });
        self.final_norm.forward(hidden_states)
    }
}

/// Builds the attention mask, which is true where a key is hidden: after the query, or padding.
///
/// # Shapes
/// - `real`: `[batch, tokens]`
/// - output: `[batch, 1, tokens, tokens]`
fn causal_padding_mask<B: Backend>(real: Tensor<B, 2, Bool>) -> Tensor<B, 4, Bool> {
    let [batch, tokens] = real.dims();
    let device = real.device();
    let future = Tensor::<B, 2, Bool>::tril_mask([tokens, tokens], 0, &device);
    let padding = real.bool_not().reshape([batch, 1, 1, tokens]);
    future
        .reshape([1, 1, tokens, tokens])
        .expand([batch, 1, tokens, tokens])
        .bool_or(padding.expand([batch, 1, tokens, tokens]))
}
