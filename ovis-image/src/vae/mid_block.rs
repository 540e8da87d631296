use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{ResnetBlock, VaeAttention};
use crate::config::VaeConfig;

/// Middle block at the innermost width: residual block, attention, residual block.
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct MidBlock<B: Backend> {
    /// Residual block before the attention.
    pub resnet1: ResnetBlock<B>,
    /// Attention over all pixels.
    pub attention: VaeAttention<B>,
    /// Residual block after the attention.
    pub resnet2: ResnetBlock<B>,
}

impl<B: Backend> MidBlock<B> {
    /// Creates a block for `channels` channels with lazy random weights.
    pub fn new(config: &VaeConfig, channels: usize, device: &B::Device) -> Self {
        Self {
            resnet1: ResnetBlock::new(config, channels, channels, device),
            attention: VaeAttention::new(config, channels, device),
            resnet2: ResnetBlock::new(config, channels, channels, device),
        }
    }

    /// Applies the three parts in order.
    ///
    /// # Shapes
    /// - `input` and output: `[batch, channels, height, width]`
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        self.resnet2
            .forward(self.attention.forward(self.resnet1.forward(input)))
    }
}
