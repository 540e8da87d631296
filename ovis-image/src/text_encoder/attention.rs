use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::config::TextEncoderConfig;
use crate::layers::{LinearLayer, RmsNormLayer};
use crate::ops::{AttentionMask, RotaryTable, attention};

/// Grouped-query attention (arXiv 2305.13245) with an RMSNorm on each query and key head.
#[derive(Module, Debug)]
pub struct TextAttention<B: Backend> {
    /// To `heads * head_dim`, no bias.
    pub query: LinearLayer<B>,
    /// To `kv_heads * head_dim`, no bias.
    pub key: LinearLayer<B>,
    /// To `kv_heads * head_dim`, no bias.
    pub value: LinearLayer<B>,
    /// Per-head norm of the queries.
    pub query_norm: RmsNormLayer<B>,
    /// Per-head norm of the keys.
    pub key_norm: RmsNormLayer<B>,
    /// Back to the residual width, no bias.
    pub output: LinearLayer<B>,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl<B: Backend> TextAttention<B> {
    /// An attention layer with lazy random weights.
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
            kv_heads,
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
        let [batch, tokens, _] = hidden_states.dims();
        let dtype = hidden_states.dtype();
        let split_heads = |projected: Tensor<B, 3>, heads: usize| {
            projected
                .reshape([batch, tokens, heads, self.head_dim])
                .swap_dims(1, 2)
        };
        let query = split_heads(self.query.forward(hidden_states.clone()), self.heads);
        let key = split_heads(self.key.forward(hidden_states.clone()), self.kv_heads);
        let value = split_heads(self.value.forward(hidden_states), self.kv_heads);

        let query = rope
            .rotate_halves(self.query_norm.forward_f32(query))
            .cast(dtype);
        let key = rope
            .rotate_halves(self.key_norm.forward_f32(key))
            .cast(dtype);

        let attended = attention(query, self.repeat_kv(key), self.repeat_kv(value), mask);
        let joined = attended
            .swap_dims(1, 2)
            .reshape([batch, tokens, self.heads * self.head_dim]);
        self.output.forward(joined)
    }

    /// Gives each query head its key or value head: `[batch, kv_heads, ..] -> [batch, heads, ..]`.
    /// Burn's attention has no grouped form.
    fn repeat_kv(&self, tensor: Tensor<B, 4>) -> Tensor<B, 4> {
        let groups = self.heads / self.kv_heads;
        if groups == 1 {
            return tensor;
        }
        let [batch, kv_heads, tokens, head_dim] = tensor.dims();
        tensor.unsqueeze_dim::<5>(2).repeat_dim(2, groups).reshape([
            batch,
            kv_heads * groups,
            tokens,
            head_dim,
        ])
    }
}
