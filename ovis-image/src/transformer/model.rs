use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{
    DoubleStreamBlock, FinalLayer, JointHiddenStates, SingleStreamBlock, StepModulation,
    TimestepEmbedder,
};
use crate::config::TransformerConfig;
use crate::kernels;
use crate::layers::{LinearLayer, RmsNormLayer, fold_blocks};
use crate::ops::{RotaryTable, timestep_embedding};

/// Denoiser that predicts `noise - clean` (diffusers: `OvisImageTransformer2DModel`).
#[derive(Module, Debug)]
pub struct OvisImageTransformer<B: Backend> {
    /// Projection of latent patches to hidden states.
    pub image_embedder: LinearLayer<B>,
    /// Norm of the text embeddings.
    pub text_norm: RmsNormLayer<B>,
    /// Projection of text embeddings to hidden states.
    pub text_embedder: LinearLayer<B>,
    /// Embedder of timesteps as conditioning vectors.
    pub timestep_embedder: TimestepEmbedder<B>,
    /// Double-stream blocks.
    pub double_blocks: Vec<DoubleStreamBlock<B>>,
    /// Single-stream blocks.
    pub single_blocks: Vec<SingleStreamBlock<B>>,
    /// Final layer from hidden states to the prediction.
    pub final_layer: FinalLayer<B>,
    pub(super) axes_dims_rope: [usize; 3],
}

/// Latents and text that the denoiser reads, in addition to the timestep.
///
/// The struct is exhaustive, because another input would make another model.
#[derive(Debug, Clone)]
pub struct TransformerInput<'a, B: Backend> {
    /// Packed noisy latents, `[batch, image tokens, channels]`, in the model's dtype.
    pub latents: Tensor<B, 3>,
    /// Text embeddings with their zero rows, `[batch, text tokens, context]`, in the same dtype.
    pub prompt_embeds: Tensor<B, 3>,
    /// Rotary table from [`OvisImageTransformer::rope`].
    pub rope: &'a RotaryTable<B>,
}

impl TransformerConfig {
    /// Builds the model with lazy random weights: nothing is allocated before first use.
    ///
    /// # Panics
    /// May panic, here or on first use, if the configuration fails [`validate`](Self::validate).
    pub fn init<B: Backend>(&self, device: &B::Device) -> OvisImageTransformer<B> {
        let hidden = self.hidden_size();
        OvisImageTransformer {
            image_embedder: LinearLayer::new(self.in_channels, hidden, device),
            text_norm: RmsNormLayer::new(self.joint_attention_dim, Self::NORM_EPS, device),
            text_embedder: LinearLayer::new(self.joint_attention_dim, hidden, device),
            timestep_embedder: TimestepEmbedder::new(Self::TIME_CHANNELS, hidden, device),
            double_blocks: (0..self.num_layers)
                .map(|_| DoubleStreamBlock::new(self, device))
                .collect(),
            single_blocks: (0..self.num_single_layers)
                .map(|_| SingleStreamBlock::new(self, device))
                .collect(),
            final_layer: FinalLayer::new(hidden, self.output_channels(), device),
            axes_dims_rope: self.axes_dims_rope,
        }
    }
}

impl<B: Backend> OvisImageTransformer<B> {
    /// Computes the rotary table of `text_tokens` tokens at (0, i, i) and a patch grid at (0, row,
    /// column). It depends on the size alone, so compute it once per request.
    pub fn rope(
        &self,
        text_tokens: usize,
        [rows, columns]: [usize; 2],
        device: &B::Device,
    ) -> RotaryTable<B> {
        let text = (0..text_tokens).map(|i| [0.0, i as f64, i as f64]);
        let image = (0..rows)
            .flat_map(|row| (0..columns).map(move |column| [0.0, row as f64, column as f64]));
        let positions: Vec<[f64; 3]> = text.chain(image).collect();
        RotaryTable::from_positions(
            &positions,
            &self.axes_dims_rope,
            TransformerConfig::ROPE_THETA,
            device,
        )
    }

    /// Computes the conditioning vector of each batch item's timestep.
    ///
    /// # Shapes
    /// - `timesteps`: one per batch item, from 0 (clean) to 1 (noise)
    /// - output: `[batch, hidden]`, in the model's dtype
    pub fn conditioning(&self, timesteps: &[f32]) -> Tensor<B, 2> {
        let weight = self.timestep_embedder.input.weight.val();
        let sinusoid = timestep_embedding(
            timesteps,
            TransformerConfig::TIME_CHANNELS,
            weight.dtype(),
            &weight.device(),
        );
        self.timestep_embedder.forward(sinusoid)
    }

    /// Predicts the velocity `noise - clean`.
    ///
    /// # Shapes
    /// - `input`: see [`TransformerInput`]
    /// - `timesteps`: one per batch item, from 0 (clean) to 1 (noise)
    /// - output: `[batch, image tokens, channels]`, in the model's dtype
    ///
    /// # Panics
    /// Panics if shapes or dtypes disagree (the pipeline checks them first).
    pub fn forward(&self, input: TransformerInput<'_, B>, timesteps: &[f32]) -> Tensor<B, 3> {
        self.forward_conditioned(input, self.conditioning(timesteps))
    }

    /// Like [`forward`](Self::forward), with a conditioning vector instead of the timesteps.
    ///
    /// # Shapes
    /// - `conditioning`: `[batch, hidden]`, from [`conditioning`](Self::conditioning)
    /// - output: `[batch, image tokens, channels]`, in the model's dtype
    ///
    /// # Panics
    /// Panics like [`forward`](Self::forward).
    pub fn forward_conditioned(
        &self,
        input: TransformerInput<'_, B>,
        conditioning: Tensor<B, 2>,
    ) -> Tensor<B, 3> {
        self.forward_modulated(input, &self.modulation(conditioning))
    }

    /// Like [`forward`](Self::forward), with every block's modulation computed before.
    ///
    /// [`StagedForward`](super::StagedForward) runs the same computation in parts.
    ///
    /// # Shapes
    /// - `modulation`: one entry per batch item or one for all, from
    ///   [`modulation`](Self::modulation)
    /// - output: `[batch, image tokens, channels]`, in the model's dtype
    ///
    /// # Panics
    /// Panics like [`forward`](Self::forward).
    pub fn forward_modulated(
        &self,
        input: TransformerInput<'_, B>,
        modulation: &StepModulation<B>,
    ) -> Tensor<B, 3> {
        let TransformerInput {
            latents,
            prompt_embeds,
            rope,
        } = input;
        let image = self.image_embedder.forward(latents);
        let text = self
            .text_embedder
            .forward(self.text_norm.forward(prompt_embeds));

        let streams = fold_blocks(
            &self.double_blocks,
            JointHiddenStates { image, text },
            |streams, index, block| {
                block.forward_modulated(streams, &modulation.double_blocks[index], rope)
            },
        );

        let (text_tokens, image_tokens) = (streams.text.dims()[1], streams.image.dims()[1]);
        let joint = fold_blocks(
            &self.single_blocks,
            kernels::join(streams.text, streams.image, 1),
            |joint, index, block| {
                block.forward_modulated(joint, &modulation.single_blocks[index], rope)
            },
        );

        let image = joint.narrow(1, text_tokens, image_tokens);
        self.final_layer
            .forward_modulated(image, &modulation.final_layer)
    }
}
