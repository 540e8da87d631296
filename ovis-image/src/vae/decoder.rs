use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::{MidBlock, ResnetBlock};
use crate::config::VaeConfig;
use crate::kernels;
use crate::layers::{ConvLayer, GroupNormLayer};

/// Level of the decoder.
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct UpBlock<B: Backend> {
    /// Residual blocks, one more than in the encoder.
    pub resnets: Vec<ResnetBlock<B>>,
    /// Convolution after doubling the size; absent on the last level.
    pub upsample: Option<ConvLayer<B>>,
}

/// VAE decoder from latents to pixels.
#[derive(Module, Debug)]
#[non_exhaustive]
pub struct VaeDecoder<B: Backend> {
    /// Convolution from the latents to the innermost width.
    pub conv_in: ConvLayer<B>,
    /// Middle block.
    pub mid: MidBlock<B>,
    /// Levels in the order in which they run, from the latents outward.
    pub up_blocks: Vec<UpBlock<B>>,
    /// Norm before the last convolution.
    pub norm_out: GroupNormLayer<B>,
    /// Convolution to RGB.
    pub conv_out: ConvLayer<B>,
}

impl<B: Backend> UpBlock<B> {
    fn forward(&self, mut hidden_states: Tensor<B, 4>) -> Tensor<B, 4> {
        for resnet in &self.resnets {
            hidden_states = resnet.forward(hidden_states);
        }
        let Some(conv) = &self.upsample else {
            return hidden_states;
        };
        conv.forward(kernels::double_size(hidden_states))
    }
}

impl<B: Backend> VaeDecoder<B> {
    /// Creates a decoder with lazy random weights.
    pub fn new(config: &VaeConfig, device: &B::Device) -> Self {
        let widths = &config.block_out_channels;
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        let mut previous = last;
        let up_blocks = widths
            .iter()
            .enumerate()
            .rev()
            .map(|(level, width)| {
                let resnets = (0..=config.layers_per_block)
                    .map(|_| {
                        ResnetBlock::new(
                            config,
                            std::mem::replace(&mut previous, *width),
                            *width,
                            device,
                        )
                    })
                    .collect();
                let upsample = (level > 0).then(|| ConvLayer::same(*width, *width, 3, device));
                UpBlock { resnets, upsample }
            })
            .collect();
        Self {
            conv_in: ConvLayer::same(config.latent_channels, last, 3, device),
            mid: MidBlock::new(config, last, device),
            up_blocks,
            norm_out: GroupNormLayer::new(
                config.norm_num_groups,
                first,
                VaeConfig::NORM_EPS,
                device,
            ),
            conv_out: ConvLayer::same(first, config.out_channels, 3, device),
        }
    }

    /// Decodes latents in the VAE's scale to pixels.
    ///
    /// # Shapes
    /// - `latents`: `[batch, latent channels, height, width]`
    /// - output: `[batch, 3, height * scale, width * scale]`, about -1..1
    pub fn forward(&self, latents: Tensor<B, 4>) -> Tensor<B, 4> {
        let mut hidden_states = self.mid.forward(self.conv_in.forward(latents));
        for block in &self.up_blocks {
            hidden_states = block.forward(hidden_states);
        }
        self.conv_out
            .forward(self.norm_out.forward_silu(hidden_states))
    }
}
