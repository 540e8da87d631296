//! Residency of the transformer's weights: loaded, or read when used.

use burn::module::{Module, ModuleVisitor};
use burn::tensor::backend::Backend;

use super::{DoubleStreamBlock, OvisImageTransformer, SingleStreamBlock};
use crate::layers::{LinearLayer, Streamed, stream_absent_weights};

// Both kinds of blocks leave their modulation out, which is computed separately for many steps at
// once.
impl<B: Backend> Streamed<B> for DoubleStreamBlock<B> {
    fn is_streamed(&self) -> bool {
        self.streamed
    }

    fn set_streamed(&mut self, streamed: bool) {
        self.streamed = streamed;
    }

    fn visit_streamed_weights<V: ModuleVisitor<B>>(&self, visitor: &mut V) {
        self.image_attention.visit(visitor);
        self.image_feed_forward.visit(visitor);
        self.text_attention.visit(visitor);
        self.text_feed_forward.visit(visitor);
    }
}

impl<B: Backend> Streamed<B> for SingleStreamBlock<B> {
    fn is_streamed(&self) -> bool {
        self.streamed
    }

    fn set_streamed(&mut self, streamed: bool) {
        self.streamed = streamed;
    }

    fn visit_streamed_weights<V: ModuleVisitor<B>>(&self, visitor: &mut V) {
        self.qkv_mlp.visit(visitor);
        self.qk_norm.visit(visitor);
        self.output.visit(visitor);
    }
}

impl<B: Backend> OvisImageTransformer<B> {
    /// Counts the blocks whose weights are read, or dequantized, for each forward and released
    /// afterwards.
    pub fn streamed_blocks(&self) -> usize {
        let double = self.double_blocks.iter().filter(|block| block.streamed);
        let single = self.single_blocks.iter().filter(|block| block.streamed);
        double.count() + single.count()
    }

    /// Returns true if a weight of the modulation is not loaded yet.
    pub(crate) fn modulation_is_absent(&self) -> bool {
        let double = self.double_blocks.iter().flat_map(|block| {
            [
                &block.image_modulation.linear,
                &block.text_modulation.linear,
            ]
        });
        let single = self
            .single_blocks
            .iter()
            .map(|block| &block.modulation.linear);
        let is_absent = |linear: &LinearLayer<B>| !linear.weight.is_initialized();
        double
            .chain(single)
            .chain([&self.final_layer.modulation])
            .any(is_absent)
    }

    /// Marks the blocks that have unloaded weights as streamed.
    pub(crate) fn stream_absent_weights(&mut self) {
        stream_absent_weights(&mut self.double_blocks);
        stream_absent_weights(&mut self.single_blocks);
    }
}
