use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{FeedForward, Modulation, ModulationParams, StreamAttention};
use crate::config::TransformerConfig;
use crate::kernels;
use crate::ops::{RotaryTable, clip_f16};

/// Double-stream block, in which image and text have separate weights and attend jointly.
#[derive(Module, Debug)]
pub struct DoubleStreamBlock<B: Backend> {
    /// Modulation of the image stream's two sub-layers.
    pub image_modulation: Modulation<B>,
    /// Projections of the image stream.
    pub image_attention: StreamAttention<B>,
    /// SwiGLU feed-forward layer of the image stream.
    pub image_feed_forward: FeedForward<B>,
    /// Modulation of the text stream's two sub-layers.
    pub text_modulation: Modulation<B>,
    /// Projections of the text stream.
    pub text_attention: StreamAttention<B>,
    /// SwiGLU feed-forward layer of the text stream.
    pub text_feed_forward: FeedForward<B>,
    /// Set if the weights are loaded for each forward and released afterwards.
    pub(super) streamed: bool,
}

/// Hidden states of the two streams of a double block.
#[derive(Debug, Clone)]
pub struct JointHiddenStates<B: Backend> {
    /// Image stream, `[batch, image tokens, hidden]`.
    pub image: Tensor<B, 3>,
    /// Text stream, `[batch, text tokens, hidden]`.
    pub text: Tensor<B, 3>,
}

/// Modulation of a double block: for each stream, first the attention's, then the SwiGLU's.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DoubleModulation<B: Backend> {
    /// Modulation of the image stream.
    pub image: [ModulationParams<B>; 2],
    /// Modulation of the text stream.
    pub text: [ModulationParams<B>; 2],
}

impl<B: Backend> DoubleModulation<B> {
    /// Selects the modulation of one batch item.
    pub fn item(&self, index: usize) -> Self {
        let item =
            |params: &[ModulationParams<B>; 2]| [params[0].item(index), params[1].item(index)];
        Self {
            image: item(&self.image),
            text: item(&self.text),
        }
    }
}

impl<B: Backend> DoubleStreamBlock<B> {
    /// Creates a block with lazy random weights.
    pub fn new(config: &TransformerConfig, device: &B::Device) -> Self {
        let (hidden, inner) = (config.hidden_size(), config.mlp_hidden_size());
        Self {
            image_modulation: Modulation::new(hidden, 2, device),
            image_attention: StreamAttention::new(config, device),
            image_feed_forward: FeedForward::new(hidden, inner, device),
            text_modulation: Modulation::new(hidden, 2, device),
            text_attention: StreamAttention::new(config, device),
            text_feed_forward: FeedForward::new(hidden, inner, device),
            streamed: false,
        }
    }

    /// Attends jointly, then applies each stream's feed-forward layer; every sub-layer is modulated
    /// and gated.
    ///
    /// # Shapes
    /// - `streams`: see [`JointHiddenStates`]
    /// - `conditioning`: `[batch, hidden]`
    /// - `rope`: over text tokens, then image tokens
    pub fn forward(
        &self,
        streams: JointHiddenStates<B>,
        conditioning: Tensor<B, 2>,
        rope: &RotaryTable<B>,
    ) -> JointHiddenStates<B> {
        self.forward_modulated(streams, &self.modulation(conditioning), rope)
    }

    /// Computes the modulation of both streams.
    ///
    /// # Shapes
    /// - `conditioning`: `[batch, hidden]`
    pub fn modulation(&self, conditioning: Tensor<B, 2>) -> DoubleModulation<B> {
        DoubleModulation {
            image: self.image_modulation.forward(conditioning.clone()),
            text: self.text_modulation.forward(conditioning),
        }
    }

    /// Applies the block like [`forward`](Self::forward), with a modulation computed before.
    ///
    /// # Shapes
    /// Same as [`forward`](Self::forward).
    pub fn forward_modulated(
        &self,
        streams: JointHiddenStates<B>,
        modulation: &DoubleModulation<B>,
        rope: &RotaryTable<B>,
    ) -> JointHiddenStates<B> {
        let JointHiddenStates { image, text } = streams;
        let [image_attention_mod, image_mlp_mod] = &modulation.image;
        let [text_attention_mod, text_mlp_mod] = &modulation.text;

        let (text_tokens, image_tokens) = (text.dims()[1], image.dims()[1]);
        let text_qkv = self.text_attention.project(
            text_attention_mod.normalize(text.clone()),
            &rope.tokens(0, text_tokens),
        );
        let image_qkv = self.image_attention.project(
            image_attention_mod.normalize(image.clone()),
            &rope.tokens(text_tokens, image_tokens),
        );
        let attended = text_qkv.followed_by(image_qkv).attend();

        let [text_update, image_update] = kernels::split(attended, 1, [text_tokens, image_tokens]);

        let image =
            image_attention_mod.add_gated(image, self.image_attention.output.forward(image_update));
        let image_update = self
            .image_feed_forward
            .forward(image_mlp_mod.normalize(image.clone()));
        let image = image_mlp_mod.add_gated(image, image_update);

        let text =
            text_attention_mod.add_gated(text, self.text_attention.output.forward(text_update));
        let text_update = self
            .text_feed_forward
            .forward(text_mlp_mod.normalize(text.clone()));
        let text = text_mlp_mod.add_gated(text, text_update);

        JointHiddenStates {
            image,
            text: clip_f16(text),
        }
    }
}
