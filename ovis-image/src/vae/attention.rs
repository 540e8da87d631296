use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use crate::config::VaeConfig;
use crate::kernels;
use crate::layers::{GroupNormLayer, LinearLayer};
use crate::ops::AttentionMask;

/// Single-head attention over all pixels, with a residual connection.
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct VaeAttention<B: Backend> {
    /// Norm before the projections.
    pub norm: GroupNormLayer<B>,
    /// Query projection, `channels -> channels`; a 1x1 convolution in BFL's files.
    pub query: LinearLayer<B>,
    /// Key projection, `channels -> channels`.
    pub key: LinearLayer<B>,
    /// Value projection, `channels -> channels`.
    pub value: LinearLayer<B>,
    /// Output projection, `channels -> channels`.
    pub output: LinearLayer<B>,
}

impl<B: Backend> VaeAttention<B> {
    /// Creates an attention layer with lazy random weights.
    pub fn new(config: &VaeConfig, channels: usize, device: &B::Device) -> Self {
        let linear = || LinearLayer::new(channels, channels, device);
        Self {
            norm: GroupNormLayer::new(
                config.norm_num_groups,
                channels,
                VaeConfig::NORM_EPS,
                device,
            ),
            query: linear(),
            key: linear(),
            value: linear(),
            output: linear(),
        }
    }

    /// Adds the attention of every pixel to every pixel.
    ///
    /// # Shapes
    /// - `input` and output: `[batch, channels, height, width]`
    pub fn forward(&self, input: Tensor<B, 4>) -> Tensor<B, 4> {
        let [batch, channels, height, width] = input.dims();
        let pixels = self
            .norm
            .forward(input.clone())
            .reshape([batch, channels, height * width])
            .swap_dims(1, 2);
        let head = |linear: &LinearLayer<B>| linear.forward(pixels.clone()).unsqueeze_dim::<4>(1);
        let attended = kernels::multi_head_attention(
            head(&self.query),
            head(&self.key),
            head(&self.value),
            AttentionMask::Full,
        );
        let update = self
            .output
            .forward(attended.squeeze_dim::<3>(1))
            .swap_dims(1, 2)
            .reshape([batch, channels, height, width]);
        input + update
    }
}
