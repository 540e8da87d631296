use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::config::TransformerConfig;
use crate::layers::{LinearLayer, RmsNormLayer};
use crate::ops::RotaryTable;

/// RMSNorm of each query and key head.
#[derive(Module, Debug)]
pub struct QkNorm<B: Backend> {
    /// Of the queries.
    pub query: RmsNormLayer<B>,
    /// Of the keys.
    pub key: RmsNormLayer<B>,
}

/// One stream's side of the joint attention of a double block.
#[derive(Module, Debug)]
pub struct StreamAttention<B: Backend> {
    /// `hidden -> 3 * hidden`, rows (query, key, value).
    pub qkv: LinearLayer<B>,
    /// Norms of the heads.
    pub qk_norm: QkNorm<B>,
    /// `hidden -> hidden`, after attention.
    pub output: LinearLayer<B>,
}

/// Queries, keys and values of a stream, each `[batch, heads, tokens, head_dim]`.
#[derive(Debug, Clone)]
pub(super) struct Qkv<B: Backend> {
    pub(super) query: Tensor<B, 4>,
    pub(super) key: Tensor<B, 4>,
    pub(super) value: Tensor<B, 4>,
}

impl<B: Backend> QkNorm<B> {
    /// Norms with unit scales.
    pub fn new(config: &TransformerConfig, device: &B::Device) -> Self {
        let norm = || {
            RmsNormLayer::new(
                config.attention_head_dim,
                TransformerConfig::NORM_EPS,
                device,
            )
        };
        Self {
            query: norm(),
            key: norm(),
        }
    }
}

impl<B: Backend> StreamAttention<B> {
    /// A stream's projections with lazy random weights.
    pub fn new(config: &TransformerConfig, device: &B::Device) -> Self {
        let hidden = config.hidden_size();
        Self {
            qkv: LinearLayer::new(hidden, 3 * hidden, device),
            qk_norm: QkNorm::new(config, device),
            output: LinearLayer::new(hidden, hidden, device),
        }
    }

    /// Projects a stream to queries, keys and values; the first two are normalised and f32.
    pub(super) fn project(&self, hidden_states: Tensor<B, 3>) -> Qkv<B> {
        split_qkv(self.qkv.forward(hidden_states), &self.qk_norm)
    }
}

/// Cuts a fused projection `[batch, tokens, 3 * hidden]` into heads and normalises queries and
/// keys, which stay in f32 for the rotation that follows.
pub(super) fn split_qkv<B: Backend>(projected: Tensor<B, 3>, qk_norm: &QkNorm<B>) -> Qkv<B> {
    let [batch, tokens, width] = projected.dims();
    let head_dim = qk_norm.query.weight.val().dims()[0];
    let hidden = width / 3;
    let heads = |index: usize| {
        projected
            .clone()
            .narrow(2, index * hidden, hidden)
            .reshape([batch, tokens, hidden / head_dim, head_dim])
            .swap_dims(1, 2)
    };
    Qkv {
        query: qk_norm.query.forward_f32(heads(0)),
        key: qk_norm.key.forward_f32(heads(1)),
        value: heads(2),
    }
}

impl<B: Backend> Qkv<B> {
    /// Puts this stream's tokens before `other`'s.
    pub(super) fn followed_by(self, other: Self) -> Self {
        let join = |a, b| Tensor::cat(vec![a, b], 2);
        Self {
            query: join(self.query, other.query),
            key: join(self.key, other.key),
            value: join(self.value, other.value),
        }
    }

    /// Rotates queries and keys, attends with every token seeing all, and joins the heads:
    /// `[batch, tokens, hidden]` in the values' dtype.
    pub(super) fn attend(self, rope: &RotaryTable<B>) -> Tensor<B, 3> {
        let dtype = self.value.dtype();
        let [batch, heads, tokens, head_dim] = self.value.dims();
        crate::ops::attention(
            rope.rotate_pairs(self.query).cast(dtype),
            rope.rotate_pairs(self.key).cast(dtype),
            self.value,
            crate::ops::AttentionMask::Full,
        )
        .swap_dims(1, 2)
        .reshape([batch, tokens, heads * head_dim])
    }
}
