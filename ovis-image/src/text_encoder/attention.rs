use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::config::TextEncoderConfig;
use crate::kernels;
use crate::layers::{LinearLayer, RmsNormLayer};
use crate::ops::{AttentionMask, Pairs, RotaryTable};

/// Grouped-query attention (arXiv 2305.13245) with an RMSNorm on each query and key head.
#[derive(Module, Debug)]
pub struct TextAttention<B: Backend> {
    /// Query projection to `heads * head_dim`, without a bias.
    pub query: LinearLayer<B>,
    /// Key projection to `kv_heads * head_dim`, without a bias.
    pub key: LinearLayer<B>,
    /// Value projection to `kv_heads * head_dim`, without a bias.
    pub value: LinearLayer<B>,
    /// Norm of each query head.
    pub query_norm: RmsNormLayer<B>,
    /// Norm of each key head.
    pub key_norm: RmsNormLayer<B>,
    /// Output projection back to the residual width, without a bias.
    pub output: LinearLayer<B>,
    heads: usize,
    head_dim: usize,
}

impl<B: Backend> TextAttention<B> {
    /// Creates an attention layer with lazy random weights.
    pub fn new(config: &TextEncoderConfig, device: &B::Device) -> Self {
        let TextEncoderConfig {
            hidden_size: hidden,
            head_dim,
            rms_norm_eps: eps,
            ..
        } = *config;
        let (heads, kv_heads) = (config.num_attention_heads, config.num_key_value_heads);
        Self {
            query: LinearLayer::without_bias(hidden, heads * head_dim, device),
            key: LinearLayer::without_bias(hidden, kv_heads * head_dim, device),
            value: LinearLayer::without_bias(hidden, kv_heads * head_dim, device),
            query_norm: RmsNormLayer::new(head_dim, eps, device),
            key_norm: RmsNormLayer::new(head_dim, eps, device),
            output: LinearLayer::without_bias(heads * head_dim, hidden, device),
            heads,
            head_dim,
        }
    }

    /// Attends within the sequence.
    ///
    /// # Shapes
    /// - `hidden_states` and output: `[batch, tokens, hidden]`
    pub fn forward(
        &self,
        hidden_states: Tensor<B, 3>,
        rope: &RotaryTable<B>,
        mask: AttentionMask<B>,
    ) -> Tensor<B, 3> {
        let heads = |linear: &LinearLayer<B>, norm: &RmsNormLayer<B>| {
            norm.forward_heads(linear.forward(hidden_states.clone()), rope, Pairs::Halves)
        };
        let query = heads(&self.query, &self.query_norm);
        let key = heads(&self.key, &self.key_norm);
        let value = kernels::split_heads(self.value.forward(hidden_states), self.head_dim);

        let joined = kernels::join_heads(kernels::multi_head_attention(query, key, value, mask));
        self.output.forward(joined)
    }
}
