//! Parameters of the transformer, listed as `init` builds them, and the inverse: the configuration
//! of a given model.

use burn::tensor::backend::Backend;

use super::{OvisImageTransformer, QkNorm};
use crate::config::TransformerConfig;
use crate::parameters::{BlockIndex, Parameter, ParameterList, ParameterRole};

impl TransformerConfig {
    /// Lists the parameters of the model that [`init`](Self::init) builds.
    pub fn parameters(&self) -> Vec<Parameter> {
        use ParameterRole::{FinalProjection, Modulation, Other};
        let (hidden, inner) = (self.hidden_size(), self.mlp_hidden_size());
        let head_dim = self.attention_head_dim;
        let mut list = ParameterList::new();
        list.module(Other, "")
            .linear("image_embedder", self.in_channels, hidden)
            .rms_norm("text_norm", self.joint_attention_dim)
            .linear("text_embedder", self.joint_attention_dim, hidden)
            .linear("timestep_embedder.input", Self::TIME_CHANNELS, hidden)
            .linear("timestep_embedder.output", hidden, hidden);
        for index in 0..self.num_layers {
            let path = format!("double_blocks.{index}");
            let mut block = list.block(BlockIndex::Double(index), &path);
            for stream in ["image", "text"] {
                block
                    .inner_as(Modulation, &format!("{stream}_modulation"))
                    .linear("linear", hidden, 6 * hidden);
                block
                    .inner(&format!("{stream}_attention"))
                    .linear("qkv", hidden, 3 * hidden)
                    .rms_norm("qk_norm.query", head_dim)
                    .rms_norm("qk_norm.key", head_dim)
                    .linear("output", hidden, hidden);
                block
                    .inner(&format!("{stream}_feed_forward"))
                    .linear("gate", hidden, inner)
                    .linear("up", hidden, inner)
                    .linear("down", inner, hidden);
            }
        }
        for index in 0..self.num_single_layers {
            let path = format!("single_blocks.{index}");
            let mut block = list.block(BlockIndex::Single(index), &path);
            block
                .inner_as(Modulation, "modulation")
                .linear("linear", hidden, 3 * hidden);
            block
                .linear("qkv_mlp", hidden, 3 * hidden + 2 * inner)
                .rms_norm("qk_norm.query", head_dim)
                .rms_norm("qk_norm.key", head_dim)
                .linear("output", hidden + inner, hidden);
        }
        let mut final_layer = list.module(FinalProjection, "final_layer");
        final_layer
            .inner_as(Modulation, "")
            .linear("modulation", hidden, 2 * hidden);
        final_layer.linear("output", hidden, self.output_channels());
        list.finish()
    }
}

impl<B: Backend> OvisImageTransformer<B> {
    /// Returns the configuration of a model of these sizes, derived from the shapes of the
    /// parameters.
    pub fn config(&self) -> TransformerConfig {
        let [hidden, in_channels] = self.image_embedder.weight.lazy_shape().dims();
        let [out_channels, _] = self.final_layer.output.weight.lazy_shape().dims();
        let [joint_attention_dim] = self.text_norm.weight.lazy_shape().dims();
        let double = self.double_blocks.first();
        let single = self.single_blocks.first();
        let qk_norm: Option<&QkNorm<B>> = double
            .map(|block| &block.image_attention.qk_norm)
            .or(single.map(|block| &block.qk_norm));
        let attention_head_dim =
            qk_norm.map_or(0, |norm| norm.query.weight.lazy_shape().num_elements());
        TransformerConfig {
            patch_size: 1,
            in_channels,
            out_channels: Some(out_channels),
            num_layers: self.double_blocks.len(),
            num_single_layers: self.single_blocks.len(),
            attention_head_dim,
            num_attention_heads: hidden.checked_div(attention_head_dim).unwrap_or(0),
            joint_attention_dim,
            axes_dims_rope: self.axes_dims_rope,
        }
    }
}
