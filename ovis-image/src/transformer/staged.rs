use std::fmt;
use std::ops::Range;

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{JointHiddenStates, OvisImageTransformer, StepModulation, TransformerInput};
use crate::layers::fold_some_blocks;

/// Forward of the transformer in parts, some of which a [`StepCache`](crate::step_cache::StepCache)
/// can leave out.
///
/// [`run`](Self::run) computes the same as [`OvisImageTransformer::forward_modulated`], operation
/// by operation. Each part passes its result to the next in this order: [`embed`](Self::embed),
/// [`first_block`](Self::first_block) and [`other_blocks`](Self::other_blocks) (or
/// [`all_blocks`](Self::all_blocks)), [`finish`](Self::finish).
///
/// The parts follow the model and may change in a minor release.
pub struct StagedForward<'a, B: Backend> {
    transformer: &'a OvisImageTransformer<B>,
    input: &'a TransformerInput<'a, B>,
    modulation: &'a StepModulation<B>,
    skipped: Option<&'a SkippedBlocks>,
    observer: Option<&'a dyn StageObserver>,
}

/// Indices of the blocks that a forward leaves out, from 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SkippedBlocks {
    /// Double blocks to leave out.
    pub double_blocks: Vec<usize>,
    /// Single blocks to leave out.
    pub single_blocks: Vec<usize>,
}

/// Stage of a forward.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Embedding of latents and text as hidden states.
    Embedding,
    /// Double blocks, or some of them.
    DoubleBlocks,
    /// Single blocks.
    SingleBlocks,
    /// Projection of hidden states to the prediction.
    FinalLayer,
}

/// Observes each stage that was queued. The device may still be computing it.
#[doc(hidden)]
pub trait StageObserver {
    /// Called after a stage was queued.
    fn finished(&self, stage: Stage);
}

impl<'a, B: Backend> StagedForward<'a, B> {
    /// Creates a forward of all blocks.
    ///
    /// # Shapes
    /// Same as [`OvisImageTransformer::forward_modulated`].
    #[doc(hidden)]
    pub fn new(
        transformer: &'a OvisImageTransformer<B>,
        input: &'a TransformerInput<'a, B>,
        modulation: &'a StepModulation<B>,
    ) -> Self {
        Self {
            transformer,
            input,
            modulation,
            skipped: None,
            observer: None,
        }
    }

    /// Leaves out some of the blocks.
    #[doc(hidden)]
    pub fn skipping(mut self, skipped: Option<&'a SkippedBlocks>) -> Self {
        self.skipped = skipped;
        self
    }

    /// Reports each stage to an observer.
    #[doc(hidden)]
    pub fn observed(mut self, observer: Option<&'a dyn StageObserver>) -> Self {
        self.observer = observer;
        self
    }

    /// Runs all parts and returns the prediction.
    ///
    /// # Shapes
    /// - output: `[batch, image tokens, channels]`
    pub fn run(&self) -> Tensor<B, 3> {
        self.finish(self.all_blocks(self.embed()))
    }

    /// Embeds latents and text as the first block's input.
    pub fn embed(&self) -> JointHiddenStates<B> {
        let TransformerInput {
            latents,
            prompt_embeds,
            rope: _,
        } = self.input.clone();
        let transformer = self.transformer;
        let streams = JointHiddenStates {
            image: transformer.image_embedder.forward(latents),
            text: transformer
                .text_embedder
                .forward(transformer.text_norm.forward(prompt_embeds)),
        };
        self.report(Stage::Embedding);
        streams
    }

    /// Applies the first block's modulated norm to the image stream, which gives the input of its
    /// attention.
    ///
    /// # Shapes
    /// - `image` and output: `[batch, image tokens, hidden]`
    pub fn modulated_input(&self, image: Tensor<B, 3>) -> Tensor<B, 3> {
        match self.modulation.double_blocks.first() {
            Some(modulation) => modulation.image[0].normalize(image),
            None => image,
        }
    }

    /// Runs the first block alone.
    pub fn first_block(&self, streams: JointHiddenStates<B>) -> JointHiddenStates<B> {
        self.double_blocks(streams, 0..self.first_blocks())
    }

    /// Runs all blocks except the first and returns the image stream.
    ///
    /// # Shapes
    /// - output: `[batch, image tokens, hidden]`
    pub fn other_blocks(&self, streams: JointHiddenStates<B>) -> Tensor<B, 3> {
        let blocks = self.first_blocks()..self.transformer.double_blocks.len();
        self.single_blocks(self.double_blocks(streams, blocks))
    }

    /// Runs all blocks and returns the image stream.
    ///
    /// # Shapes
    /// - output: `[batch, image tokens, hidden]`
    pub fn all_blocks(&self, streams: JointHiddenStates<B>) -> Tensor<B, 3> {
        let blocks = 0..self.transformer.double_blocks.len();
        self.single_blocks(self.double_blocks(streams, blocks))
    }

    /// Projects the last block's image stream to the prediction.
    ///
    /// # Shapes
    /// - `image`: `[batch, image tokens, hidden]`
    /// - output: `[batch, image tokens, channels]`
    pub fn finish(&self, image: Tensor<B, 3>) -> Tensor<B, 3> {
        let final_layer = &self.transformer.final_layer;
        let prediction = final_layer.forward_modulated(image, &self.modulation.final_layer);
        self.report(Stage::FinalLayer);
        prediction
    }

    fn first_blocks(&self) -> usize {
        self.transformer.double_blocks.len().min(1)
    }

    fn double_blocks(
        &self,
        streams: JointHiddenStates<B>,
        blocks: Range<usize>,
    ) -> JointHiddenStates<B> {
        if blocks.is_empty() {
            return streams;
        }
        let (modulated, rope) = (&self.modulation.double_blocks, self.input.rope);
        let skipped = self.skipped.map(|skipped| &skipped.double_blocks);
        let streams = fold_some_blocks(
            &self.transformer.double_blocks,
            |index| blocks.contains(&index) && !is_in(skipped, index),
            streams,
            |streams, index, block| block.forward_modulated(streams, &modulated[index], rope),
        );
        self.report(Stage::DoubleBlocks);
        streams
    }

    fn single_blocks(&self, streams: JointHiddenStates<B>) -> Tensor<B, 3> {
        let (modulated, rope) = (&self.modulation.single_blocks, self.input.rope);
        let skipped = self.skipped.map(|skipped| &skipped.single_blocks);
        let (text_tokens, image_tokens) = (streams.text.dims()[1], streams.image.dims()[1]);
        let joint = Tensor::cat(vec![streams.text, streams.image], 1);
        let joint = fold_some_blocks(
            &self.transformer.single_blocks,
            |index| !is_in(skipped, index),
            joint,
            |joint, index, block| block.forward_modulated(joint, &modulated[index], rope),
        );
        self.report(Stage::SingleBlocks);
        joint.narrow(1, text_tokens, image_tokens)
    }

    fn report(&self, stage: Stage) {
        if let Some(observer) = self.observer {
            observer.finished(stage);
        }
    }
}

fn is_in(blocks: Option<&Vec<usize>>, index: usize) -> bool {
    blocks.is_some_and(|blocks| blocks.contains(&index))
}

// Implemented by hand, because the derived traits would require the backend to be
// `Copy` as well.
impl<B: Backend> Clone for StagedForward<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Backend> Copy for StagedForward<'_, B> {}

impl<B: Backend> fmt::Debug for StagedForward<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StagedForward")
            .field("skipped", &self.skipped)
            .finish_non_exhaustive()
    }
}
