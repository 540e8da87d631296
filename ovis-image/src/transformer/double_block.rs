use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{FeedForward, Modulation, ModulationParams, StreamAttention};
use crate::config::TransformerConfig;
use crate::ops::{RotaryTable, clip_f16};

/// A block in which image and text have their own weights and attend jointly.
#[derive(Module, Debug)]
pub struct DoubleStreamBlock<B: Backend> {
    /// Modulation of the image stream's two sub-layers.
    pub image_modulation: Modulation<B>,
    /// Projections of the image stream.
    pub image_attention: StreamAttention<B>,
    /// SwiGLU of the image stream.
    pub image_feed_forward: FeedForward<B>,
    /// Modulation of the text stream's two sub-layers.
    pub text_modulation: Modulation<B>,
    /// Projections of the text stream.
    pub text_attention: StreamAttention<B>,
    /// SwiGLU of the text stream.
    pub text_feed_forward: FeedForward<B>,
    /// Whether its weights are read for each forward and given back after it.
    pub(super) streamed: bool,
}

/// The two streams of a double block.
#[derive(Debug, Clone)]
pub struct JointHiddenStates<B: Backend> {
    /// `[batch, image tokens, hidden]`.
    pub image: Tensor<B, 3>,
    /// `[batch, text tokens, hidden]`.
    pub text: Tensor<B, 3>,
}

/// The modulation of a double block, attention first, then SwiGLU.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DoubleModulation<B: Backend> {
    /// Of the image stream.
    pub image: [ModulationParams<B>; 2],
    /// Of the text stream.
    pub text: [ModulationParams<B>; 2],
}

impl<B: Backend> DoubleModulation<B> {
    /// That of one batch item.
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
    /// A block with lazy random weights.
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

    /// Attends jointly, then feeds each stream forward, each sub-layer modulated and gated.
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

    /// Both streams' modulation.
    ///
    /// # Shapes
    /// - `conditioning`: `[batch, hidden]`
    pub fn modulation(&self, conditioning: Tensor<B, 2>) -> DoubleModulation<B> {
        DoubleModulation {
            image: self.image_modulation.forward(conditioning.clone()),
            text: self.text_modulation.forward(conditioning),
        }
    }

    /// [`forward`](Self::forward) with a modulation that was computed before.
    ///
    /// # Shapes
    /// As there.
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

        let text_update = attended.clone().narrow(1, 0, text_tokens);
        let image_update = attended.narrow(1, text_tokens, image_tokens);

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
