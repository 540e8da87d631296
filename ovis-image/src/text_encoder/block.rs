use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{TextAttention, TextFeedForward};
use crate::config::TextEncoderConfig;
use crate::layers::{RmsNormLayer, Streamed};
use crate::ops::{AttentionMask, RotaryTable};

/// Pre-norm block of the text encoder.
#[derive(Module, Debug)]
pub struct TextBlock<B: Backend> {
    /// Norm before the attention.
    pub attention_norm: RmsNormLayer<B>,
    /// Causal self-attention.
    pub attention: TextAttention<B>,
    /// Norm before the feed-forward layer.
    pub feed_forward_norm: RmsNormLayer<B>,
    /// SwiGLU feed-forward layer.
    pub feed_forward: TextFeedForward<B>,
    /// Set if the weights are loaded for each forward and released afterwards.
    streamed: bool,
}

impl<B: Backend> Streamed<B> for TextBlock<B> {
    fn is_streamed(&self) -> bool {
        self.streamed
    }

    fn set_streamed(&mut self, streamed: bool) {
        self.streamed = streamed;
    }
}

impl<B: Backend> TextBlock<B> {
    /// Creates a block with lazy random weights.
    pub fn new(config: &TextEncoderConfig, device: &B::Device) -> Self {
        let (hidden, eps) = (config.hidden_size, config.rms_norm_eps);
        Self {
            attention_norm: RmsNormLayer::new(hidden, eps, device),
            attention: TextAttention::new(config, device),
            feed_forward_norm: RmsNormLayer::new(hidden, eps, device),
            feed_forward: TextFeedForward::new(hidden, config.intermediate_size, device),
            streamed: false,
        }
    }

    /// Adds the attention of the normalized input, then the feed-forward of the normalized sum.
    ///
    /// # Shapes
    /// - `hidden_states` and output: `[batch, tokens, hidden]`
    pub fn forward(
        &self,
        hidden_states: Tensor<B, 3>,
        rope: &RotaryTable<B>,
        mask: AttentionMask<B>,
    ) -> Tensor<B, 3> {
        let attended = self.attention.forward(
            self.attention_norm.forward(hidden_states.clone()),
            rope,
            mask,
        );
        let hidden_states = hidden_states + attended;
        let fed = self
            .feed_forward
            .forward(self.feed_forward_norm.forward(hidden_states.clone()));
        hidden_states + fed
    }
}
