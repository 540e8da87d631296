//! Where each parameter of the models shall be, from the options.

use super::options::LoadOptions;
use crate::config::TransformerConfig;
use crate::weights::{ParameterInfo, Residency};

/// The path of the embedding table among the text encoder's parameters.
pub(super) const EMBEDDING: &str = "embedding";

impl LoadOptions {
    /// Of a parameter of the text encoder.
    pub(super) fn text_encoder_placement(&self, parameter: ParameterInfo<'_>) -> Residency {
        match parameter.path {
            // A prompt needs a few hundred of its rows, which are read from the file.
            EMBEDDING => Residency::File,
            path if path.starts_with("blocks.") && is_matrix(parameter) => {
                self.text_encoder_residency
            }
            _ => Residency::Device,
        }
    }

    /// Of a parameter of the transformer.
    pub(super) fn transformer_placement(
        &self,
        config: &TransformerConfig,
        parameter: ParameterInfo<'_>,
    ) -> Residency {
        let in_blocks = parameter.quantised && !self.expand_quantised;
        if parameter.path.contains("modulation.") {
            return match self.modulation_residency {
                // It is used once an image: no reason to widen a fifth of the model for that.
                Residency::Device if in_blocks => Residency::File,
                other => other,
            };
        }
        let Some(block) = BlockIndex::of(parameter.path).filter(|_| is_matrix(parameter)) else {
            return Residency::Device;
        };
        let number = match block {
            BlockIndex::Double(index) => index,
            BlockIndex::Single(index) => config.num_layers + index,
        };
        let count = config.num_layers + config.num_single_layers;
        let protected = self.protect_double_blocks && matches!(block, BlockIndex::Double(_));
        match self.quantisation {
            _ if in_blocks => Residency::File,
            Some(quantisation) if !protected => Residency::Quantised(quantisation),
            _ if is_streamed(number, self.streamed_blocks, count) => Residency::File,
            _ => Residency::Device,
        }
    }
}

/// Only matrices are worth it: what else blocks have is small.
fn is_matrix(parameter: ParameterInfo<'_>) -> bool {
    parameter.shape.len() > 1
}

/// Which block a parameter belongs to.
#[derive(Clone, Copy)]
enum BlockIndex {
    Double(usize),
    Single(usize),
}

impl BlockIndex {
    fn of(path: &str) -> Option<Self> {
        let mut parts = path.split('.');
        let (list, index) = (parts.next()?, parts.next()?.parse().ok()?);
        match list {
            "double_blocks" => Some(Self::Double(index)),
            "single_blocks" => Some(Self::Single(index)),
            _ => None,
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
