//! Where each parameter of the models is kept, from the options.

use crate::config::TransformerConfig;
use crate::parameters::{BlockIndex, ParameterRole};
use crate::request::LoadOptions;
use crate::weights::{Residency, StoredParameter};

impl LoadOptions {
    /// Where a parameter of the text encoder is kept.
    pub(crate) fn text_encoder_placement(&self, stored: &StoredParameter) -> Residency {
        match stored.parameter.role {
            // A prompt needs a few hundred of its rows, which are read from the file.
            ParameterRole::TokenEmbedding => Residency::File,
            ParameterRole::BlockMatrix(_) => self.text_encoder_residency,
            _ => Residency::Device,
        }
    }

    /// Where a parameter of the transformer is kept.
    pub(crate) fn transformer_placement(
        &self,
        config: &TransformerConfig,
        stored: &StoredParameter,
    ) -> Residency {
        let stays_quantized = stored.is_quantized && !self.expand_quantized;
        let block = match stored.parameter.role {
            ParameterRole::BlockMatrix(block) => block,
            // It is used once an image: no reason to widen a fifth of the model for that.
            ParameterRole::Modulation if stays_quantized => return Residency::File,
            ParameterRole::Modulation => return self.modulation_residency,
            _ => return Residency::Device,
        };
        let number = match block {
            BlockIndex::Single(index) => config.num_layers + index,
            BlockIndex::Double(index) | BlockIndex::Text(index) => index,
        };
        let count = config.num_layers + config.num_single_layers;
        match self.quantization_scheme() {
            _ if stays_quantized => Residency::File,
            Some(scheme) if scheme.quantizes(&stored.parameter) => {
                Residency::Quantized(scheme.quantization)
            }
            _ if is_streamed(number, self.streamed_blocks, count) => Residency::File,
            _ => Residency::Device,
        }
    }

    /// Where a parameter of the VAE is kept.
    pub(crate) fn vae_placement(&self, stored: &StoredParameter) -> Residency {
        match stored.parameter.role {
            // Text to image decodes only: the encoder is read when an image is first encoded.
            ParameterRole::ImageEncoder => Residency::File,
            _ => Residency::Device,
        }
    }
}

/// Spreads the streamed blocks evenly, so that each is read while others compute.
fn is_streamed(number: usize, streamed: usize, count: usize) -> bool {
    let streamed = streamed.min(count);
    (number + 1) * streamed / count.max(1) > number * streamed / count.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_blocks_are_streamed_as_asked_for_and_evenly() {
        for count in 1..40 {
            for streamed in 0..=count + 2 {
                let chosen: Vec<usize> = (0..count)
                    .filter(|number| is_streamed(*number, streamed, count))
                    .collect();
                assert_eq!(chosen.len(), streamed.min(count));
                let gaps: Vec<usize> = chosen.windows(2).map(|pair| pair[1] - pair[0]).collect();
                let (least, most) = (gaps.iter().min(), gaps.iter().max());
                assert!(
                    least
                        .zip(most)
                        .is_none_or(|(least, most)| most - least <= 1)
                );
            }
        }
    }
}
