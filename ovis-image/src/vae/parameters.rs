//! Parameters of the VAE, listed as `init` builds them, and the inverse: the configuration of a
//! given model.

use burn::tensor::backend::Backend;

use super::AutoencoderKl;
use crate::config::VaeConfig;
use crate::parameters::{ModuleParameters, Parameter, ParameterList, ParameterRole};

impl VaeConfig {
    /// Lists the parameters of the model that [`init`](Self::init) builds.
    ///
    /// # Panics
    /// Panics if the configuration has no level, which [`validate`](Self::validate) refuses.
    pub fn parameters(&self) -> Vec<Parameter> {
        let mut list = ParameterList::new();
        self.encoder(&mut list.module(ParameterRole::ImageEncoder, "encoder"));
        self.decoder(&mut list.module(ParameterRole::Other, "decoder"));
        list.finish()
    }

    fn encoder(&self, encoder: &mut ModuleParameters<'_>) {
        let widths = &self.block_out_channels;
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        encoder.conv("conv_in", [self.in_channels, first], 3);
        let mut previous = first;
        for (level, width) in widths.iter().copied().enumerate() {
            let mut block = encoder.inner(&format!("down_blocks.{level}"));
            for index in 0..self.layers_per_block {
                let input = std::mem::replace(&mut previous, width);
                resnet(&mut block.inner(&format!("resnets.{index}")), input, width);
            }
            if level + 1 < widths.len() {
                block.conv("downsample", [width, width], 3);
            }
        }
        mid_block(&mut encoder.inner("mid"), last);
        encoder
            .group_norm("norm_out", last)
            .moments("conv_out", last, self.latent_channels);
    }

    fn decoder(&self, decoder: &mut ModuleParameters<'_>) {
        let widths = &self.block_out_channels;
        let (first, last) = (widths[0], widths[widths.len() - 1]);
        decoder.conv("conv_in", [self.latent_channels, last], 3);
        mid_block(&mut decoder.inner("mid"), last);
        let mut previous = last;
        for (position, width) in widths.iter().rev().copied().enumerate() {
            let mut block = decoder.inner(&format!("up_blocks.{position}"));
            for index in 0..=self.layers_per_block {
                let input = std::mem::replace(&mut previous, width);
                resnet(&mut block.inner(&format!("resnets.{index}")), input, width);
            }
            if position + 1 < widths.len() {
                block.conv("upsample", [width, width], 3);
            }
        }
        decoder
            .group_norm("norm_out", first)
            .conv("conv_out", [first, self.out_channels], 3);
    }
}

fn resnet(block: &mut ModuleParameters<'_>, input: usize, output: usize) {
    block
        .group_norm("norm1", input)
        .conv("conv1", [input, output], 3)
        .group_norm("norm2", output)
        .residual_conv("conv2", output);
    if input != output {
        block.conv("shortcut", [input, output], 1);
    }
}

fn mid_block(block: &mut ModuleParameters<'_>, channels: usize) {
    resnet(&mut block.inner("resnet1"), channels, channels);
    block
        .inner("attention")
        .group_norm("norm", channels)
        .linear("query", channels, channels)
        .linear("key", channels, channels)
        .linear("value", channels, channels)
        .residual_linear("output", channels);
    resnet(&mut block.inner("resnet2"), channels, channels);
}

impl<B: Backend> AutoencoderKl<B> {
    /// Returns the configuration of a model of these sizes, derived from the shapes of the
    /// parameters.
    pub fn config(&self) -> VaeConfig {
        let Self {
            encoder, decoder, ..
        } = self;
        let levels = encoder.down_blocks.iter();
        let width = |resnets: &[super::ResnetBlock<B>]| {
            let first = resnets.first();
            first.map_or(0, |resnet| resnet.conv1.weight.lazy_shape()[0])
        };
        VaeConfig {
            in_channels: encoder.conv_in.weight.lazy_shape()[1],
            out_channels: decoder.conv_out.weight.lazy_shape()[0],
            latent_channels: decoder.conv_in.weight.lazy_shape()[1],
            block_out_channels: levels.map(|level| width(&level.resnets)).collect(),
            layers_per_block: encoder
                .down_blocks
                .first()
                .map_or(0, |level| level.resnets.len()),
            norm_num_groups: decoder.norm_out.groups(),
            scaling_factor: self.scaling_factor,
            shift_factor: Some(self.shift_factor),
            use_quant_conv: false,
            use_post_quant_conv: false,
            mid_block_add_attention: true,
        }
    }
}
