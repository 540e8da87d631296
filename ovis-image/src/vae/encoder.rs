use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{MidBlock, ResnetBlock};
use crate::config::VaeConfig;
use crate::layers::{ConvLayer, GroupNormLayer};

/// Level of the encoder.
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct DownBlock<B: Backend> {
    /// Residual blocks of the level.
    pub resnets: Vec<ResnetBlock<B>>,
    /// Convolution that halves the size; absent on the last level.
    pub downsample: Option<ConvLayer<B>>,
}

/// VAE encoder from pixels to the moments of the latents.
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct VaeEncoder<B: Backend> {
    /// Convolution from RGB to the first width.
    pub conv_in: ConvLayer<B>,
    /// Levels in the order in which they run, from the pixels inward.
    pub down_blocks: Vec<DownBlock<B>>,
    /// Middle block.
    pub mid: MidBlock<B>,
    /// Norm before the last convolution.
    pub norm_out: GroupNormLayer<B>,
    /// Convolution to mean and log-variance.
    pub conv_out: ConvLayer<B>,
}

impl<B: Backend> DownBlock<B> {
    fn forward(&self, mut hidden_states: Tensor<B, 4>) -> Tensor<B, 4> {
        for resnet in &self.resnets {
            hidden_states = resnet.forward(hidden_states);
        }
        match &self.downsample {
            // Padding is on the right and at the bottom only, as in the original.
            Some(conv) => conv.forward_halving(hidden_states),
            None => hidden_states,
        }
    }
}

impl<B: Backend> VaeEncoder<B> {
    /// Creates an encoder with lazy random weights.
    pub fn new(config: &VaeConfig, device: &B::Device) -> Self {
        let widths = &config.block_out_channels;
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        let mut previous = first;
        let down_blocks = widths
            .iter()
            .enumerate()
            .map(|(level, width)| {
                let resnets = (0..config.layers_per_block)
                    .map(|_| {
                        ResnetBlock::new(
                            config,
                            std::mem::replace(&mut previous, *width),
                            *width,
                            device,
                        )
                    })
                    .collect();
                let downsample = (level + 1 < widths.len())
                    .then(|| ConvLayer::new([*width, *width], 3, 2, 0, device));
                DownBlock {
                    resnets,
                    downsample,
                }
            })
            .collect();
        Self {
            conv_in: ConvLayer::same(config.in_channels, first, 3, device),
            down_blocks,
            mid: MidBlock::new(config, last, device),
            norm_out: GroupNormLayer::new(
                config.norm_num_groups,
                last,
                VaeConfig::NORM_EPS,
                device,
            ),
            conv_out: ConvLayer::same(last, 2 * config.latent_channels, 3, device),
        }
    }

    /// Encodes pixels to the moments of the latents: means, then log-variances.
    ///
    /// # Shapes
    /// - `pixels`: `[batch, 3, height, width]` in -1..1
    /// - output: `[batch, 2 * latent channels, height / scale, width / scale]`
    pub fn forward(&self, pixels: Tensor<B, 4>) -> Tensor<B, 4> {
        let mut hidden_states = self.conv_in.forward(pixels);
        for block in &self.down_blocks {
            hidden_states = block.forward(hidden_states);
        }
        let hidden_states = self.mid.forward(hidden_states);
        self.conv_out
            .forward(self.norm_out.forward_silu(hidden_states))
    }
}
