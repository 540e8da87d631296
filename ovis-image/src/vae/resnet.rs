use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::config::VaeConfig;
use crate::layers::{ConvLayer, GroupNormLayer};

/// Residual block `x + conv(silu(norm(conv(silu(norm(x))))))`, with a 1x1 convolution on the
/// residual where the widths differ.
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct ResnetBlock<B: Backend> {
    /// Norm before the first convolution.
    pub norm1: GroupNormLayer<B>,
    /// First convolution, which changes the width.
    pub conv1: ConvLayer<B>,
    /// Norm before the second convolution.
    pub norm2: GroupNormLayer<B>,
    /// Second convolution, which keeps the width.
    pub conv2: ConvLayer<B>,
    /// Convolution of the residual; present only where the width changes.
    pub shortcut: Option<ConvLayer<B>>,
}

impl<B: Backend> ResnetBlock<B> {
    /// Creates a block from `input` to `output` channels with lazy random weights.
    pub fn new(config: &VaeConfig, input: usize, output: usize, device: &B::Device) -> Self {
        let norm = |channels| {
            GroupNormLayer::new(
                config.norm_num_groups,
                channels,
                VaeConfig::NORM_EPS,
                device,
            )
        };
        Self {
            norm1: norm(input),
            conv1: ConvLayer::same(input, output, 3, device),
            norm2: norm(output),
            conv2: ConvLayer::same(output, output, 3, device),
            shortcut: (input != output).then(|| ConvLayer::same(input, output, 1, device)),
        }
    }

    /// Applies the block.
    ///
    /// # Shapes
    /// - `input`: `[batch, in, height, width]`
    /// - output: `[batch, out, height, width]`
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let hidden_states = self.conv1.forward(self.norm1.forward_silu(input.clone()));
        let hidden_states = self.conv2.forward(self.norm2.forward_silu(hidden_states));
        let residual = match &self.shortcut {
            Some(shortcut) => shortcut.forward(input),
            None => input,
        };
        residual + hidden_states
    }
}
