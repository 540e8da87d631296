use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{ResnetBlock, VaeAttention};
use crate::config::VaeConfig;

/// Residual block, attention, residual block, at the innermost width.
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct MidBlock<B: Backend> {
    /// Before the attention.
    pub resnet1: ResnetBlock<B>,
    /// Over all pixels.
    pub attention: VaeAttention<B>,
    /// After the attention.
    pub resnet2: ResnetBlock<B>,
}

impl<B: Backend> MidBlock<B> {
    /// A block of `channels` with lazy random weights.
    pub fn new(config: &VaeConfig, channels: usize, device: &B::Device) -> Self {
        Self {
            resnet1: ResnetBlock::new(config, channels, channels, device),
            attention: VaeAttention::new(config, channels, device),
            resnet2: ResnetBlock::new(config, channels, channels, device),
        }
    }

    /// Applies the three in order.
    ///
    /// # Shapes
    /// - `input` and output: `[batch, channels, height, width]`
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        self.resnet2
            .forward(self.attention.forward(self.resnet1.forward(input)))
    }
}
