use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::config::TransformerConfig;
use crate::kernels;
use crate::layers::{LinearLayer, RmsNormLayer};
use crate::ops::{AttentionMask, Pairs, RotaryTable};

/// Norms of the query and key heads.
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct QkNorm<B: Backend> {
    /// Norm of each query head.
    pub query: RmsNormLayer<B>,
    /// Norm of each key head.
    pub key: RmsNormLayer<B>,
}

/// Attention projections of one stream of a double block.
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct StreamAttention<B: Backend> {
    /// Fused projection `hidden -> 3 * hidden`, rows (query, key, value).
    pub qkv: LinearLayer<B>,
    /// Norms of the query and key heads.
    pub qk_norm: QkNorm<B>,
    /// Projection after the attention, `hidden -> hidden`.
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
    /// Creates norms with unit scales.
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
    /// Creates a stream's projections with lazy random weights.
    pub fn new(config: &TransformerConfig, device: &B::Device) -> Self {
        let hidden = config.hidden_size();
        Self {
            qkv: LinearLayer::new(hidden, 3 * hidden, device),
            qk_norm: QkNorm::new(config, device),
            output: LinearLayer::new(hidden, hidden, device),
        }
    }

    /// Projects a stream to queries, keys and values; queries and keys are normalized and rotated.
    pub(super) fn project(&self, hidden_states: Tensor<B, 3>, rope: &RotaryTable<B>) -> Qkv<B> {
        let [_, _, hidden] = hidden_states.dims();
        let projected = self.qkv.forward(hidden_states);
        self.qk_norm
            .heads(kernels::split(projected, 2, [hidden; 3]), rope)
    }
}

impl<B: Backend> QkNorm<B> {
    /// Splits projected queries, keys and values, each `[batch, tokens, hidden]`, into heads, and
    /// normalizes and rotates the queries and keys.
    pub(super) fn heads(&self, projected: [Tensor<B, 3>; 3], rope: &RotaryTable<B>) -> Qkv<B> {
        let [query, key, value] = projected;
        let [head_dim] = self.query.weight.val().dims();
        Qkv {
            query: self.query.forward_heads(query, rope, Pairs::Adjacent),
            key: self.key.forward_heads(key, rope, Pairs::Adjacent),
            value: kernels::split_heads(value, head_dim),
        }
    }
}

impl<B: Backend> Qkv<B> {
    /// Concatenates this stream's tokens with `other`'s, this stream first.
    pub(super) fn followed_by(self, other: Self) -> Self {
        let join = |a, b| kernels::join(a, b, 2);
        Self {
            query: join(self.query, other.query),
            key: join(self.key, other.key),
            value: join(self.value, other.value),
        }
    }

    /// Computes full attention and joins the heads: `[batch, tokens, hidden]`.
    pub(super) fn attend(self) -> Tensor<B, 3> {
        let Self { query, key, value } = self;
        let attended = kernels::multi_head_attention(query, key, value, AttentionMask::Full);
        kernels::join_heads(attended)
    }
}
