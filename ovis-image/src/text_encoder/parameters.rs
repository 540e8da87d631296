//! Parameters of the text encoder, listed as `init` builds them, and the inverse: the configuration
//! of a given model.

use burn::module::Param;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::TextEncoder;
use crate::config::TextEncoderConfig;
use crate::parameters::{BlockIndex, Parameter, ParameterList, ParameterRole};

impl TextEncoderConfig {
    /// Lists the parameters of the model that [`init`](Self::init) builds.
    pub fn parameters(&self) -> Vec<Parameter> {
        let (hidden, head_dim) = (self.hidden_size, self.head_dim);
        let queries = self.num_attention_heads * head_dim;
        let keys = self.num_key_value_heads * head_dim;
        let mut list = ParameterList::new();
        list.module(ParameterRole::TokenEmbedding, "")
            .table("embedding", self.vocab_size, hidden);
        for index in 0..self.num_hidden_layers {
            let path = format!("blocks.{index}");
            let mut block = list.block(BlockIndex::Text(index), &path);
            block.rms_norm("attention_norm", hidden);
            block
                .inner("attention")
                .matrix("query", hidden, queries)
                .matrix("key", hidden, keys)
                .matrix("value", hidden, keys)
                .rms_norm("query_norm", head_dim)
                .rms_norm("key_norm", head_dim)
                .matrix("output", queries, hidden);
            block.rms_norm("feed_forward_norm", hidden);
            block
                .inner("feed_forward")
                .matrix("gate", hidden, self.intermediate_size)
                .matrix("up", hidden, self.intermediate_size)
                .matrix("down", self.intermediate_size, hidden);
        }
        list.module(ParameterRole::Other, "")
            .rms_norm("final_norm", hidden);
        list.finish()
    }
}

impl<B: Backend> TextEncoder<B> {
    /// Returns the configuration of a model of these sizes, derived from the shapes of the
    /// parameters.
    pub fn config(&self) -> TextEncoderConfig {
        let [vocab_size, hidden_size] = self.embedding.lazy_shape().dims();
        let block = self.blocks.first();
        let rows = |weight: &Param<Tensor<B, 2>>| weight.lazy_shape()[0];
        let head_dim = block.map_or(0, |block| block.attention.query_norm.weight.lazy_shape()[0]);
        let heads = |rows: usize| rows.checked_div(head_dim).unwrap_or(0);
        TextEncoderConfig {
            vocab_size,
            hidden_size,
            intermediate_size: block.map_or(0, |block| rows(&block.feed_forward.gate.weight)),
            num_hidden_layers: self.blocks.len(),
            num_attention_heads: heads(
                block.map_or(0, |block| rows(&block.attention.query.weight)),
            ),
            num_key_value_heads: heads(block.map_or(0, |block| rows(&block.attention.key.weight))),
            head_dim,
            rope_theta: self.rope_theta,
            rms_norm_eps: self.final_norm.eps(),
        }
    }
}
