//! Initial parameters of a model that is trained from scratch.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};

use crate::error::{OvisImageError, Result};
use crate::parameters::{Parameter, ParameterKind, ParameterRole};
use crate::sampling::NoiseGenerator;

/// Initializes the parameters of a module, depending on the seed alone: matrices and kernels are
/// normal with a variance of `1 / inputs`, embeddings have a standard deviation of one, biases are
/// zero, and scales of norms one. Modulations and the last projection of the transformer are zero,
/// so that each block starts as the identity (adaLN-Zero, arXiv 2212.09748); so are the last layers
/// of the VAE's residual branches, for the same reason. Its latents start with a deviation of 0.05
/// around their means: with one of about 1, noise hides the image from the decoder.
///
/// `parameters` tells what each parameter is; the module's configuration lists them.
///
/// # Errors
/// Returns [`RequestError::InvalidArgument`](crate::error::RequestError) if a parameter of the
/// module is not listed.
pub fn initialize<B: Backend, M: Module<B>>(
    module: M,
    parameters: &[Parameter],
    seed: u64,
) -> Result<M> {
    let listed = parameters.iter();
    let mut initialize = Initialize {
        listed: listed
            .map(|parameter| (parameter.path.as_str(), parameter))
            .collect(),
        path: Vec::new(),
        seed,
        unlisted: None,
    };
    let module = module.map(&mut initialize);
    match initialize.unlisted {
        None => Ok(module),
        Some(path) => Err(OvisImageError::argument(
            "parameters",
            format!("the module's parameter `{path}` is not listed"),
        )),
    }
}

struct Initialize<'a> {
    listed: HashMap<&'a str, &'a Parameter>,
    path: Vec<String>,
    seed: u64,
    /// First parameter that was found not to be listed.
    unlisted: Option<String>,
}

/// First logarithm of the latents' variance.
const LOG_VARIANCE: f32 = -6.0;

/// Initial values of a parameter.
#[derive(Debug, PartialEq)]
enum First {
    Constant(f32),
    Normal(f32),
    /// Normal values of this deviation in the first half, the constant in the second.
    Halves(f32, f32),
}

impl First {
    fn of(parameter: &Parameter) -> Self {
        let inputs = || parameter.shape.iter().skip(1).product::<usize>().max(1);
        let deviation = || 1.0 / (inputs() as f32).sqrt();
        match (parameter.kind, parameter.role) {
            (ParameterKind::Bias | ParameterKind::ResidualWeight, _) => Self::Constant(0.0),
            (ParameterKind::MomentsWeight, _) => Self::Halves(deviation(), 0.0),
            (ParameterKind::MomentsBias, _) => Self::Halves(0.0, LOG_VARIANCE),
            (ParameterKind::Scale, _) => Self::Constant(1.0),
            // As large as what the blocks add to it. Small embeddings drown in the sum, and every
            // prompt is encoded alike.
            (ParameterKind::Weight, ParameterRole::TokenEmbedding) => Self::Normal(1.0),
            (ParameterKind::Weight, ParameterRole::Modulation | ParameterRole::FinalProjection) => {
                Self::Constant(0.0)
            }
            (ParameterKind::Weight, _) => Self::Normal(deviation()),
        }
    }

    fn values(&self, count: usize, seed: u64) -> Vec<f32> {
        let normal = |count: usize, deviation: f32| {
            let noise = NoiseGenerator::from_seed(seed).randn(count);
            noise.into_iter().map(move |value| value * deviation)
        };
        match *self {
            Self::Constant(value) => vec![value; count],
            Self::Normal(deviation) => normal(count, deviation).collect(),
            Self::Halves(deviation, value) => {
                let second = std::iter::repeat_n(value, count - count / 2);
                normal(count / 2, deviation).chain(second).collect()
            }
        }
    }
}

impl<B: Backend> ModuleMapper<B> for Initialize<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let path = self.path.join(".");
        let Some(parameter) = self.listed.get(path.as_str()) else {
            self.unlisted.get_or_insert(path);
            return param;
        };
        let shape: [usize; D] = param.lazy_shape().dims();
        let values = First::of(parameter).values(shape.iter().product(), seed_of(self.seed, &path));
        let device = param.lazy_device();
        let data = TensorData::new(values, shape);
        Param::initialized(param.id, Tensor::from_data(data, (&device, DType::F32)))
    }
}

/// Returns the seed of a parameter, derived from the run's seed and the path (FNV-1a), so that it
/// does not depend on the rest of the module.
pub(super) fn seed_of(seed: u64, path: &str) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    path.bytes().fold(start, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{TextEncoderConfig, TransformerConfig, VaeConfig};
    use crate::testing::{TestBackend, values};
    use crate::text_encoder::TextEncoderInput;
    use crate::training::{CharacterHead, CharacterHeadConfig, ParameterMap};

    fn first(seed: u64) -> ParameterMap<TestBackend> {
        let config = TransformerConfig::tiny();
        let model = config.init::<TestBackend>(&Default::default());
        ParameterMap::of_module(&initialize(model, &config.parameters(), seed).unwrap())
    }

    #[test]
    fn a_seed_gives_the_same_parameters_and_another_seed_others() {
        let all = |map: ParameterMap<TestBackend>| -> Vec<f32> {
            map.into_iter()
                .flat_map(|(_, tensor)| values(tensor))
                .collect()
        };
        assert_eq!(all(first(1)), all(first(1)));
        assert_ne!(all(first(1)), all(first(2)));
    }

    #[test]
    fn blocks_start_as_the_identity() {
        for (path, tensor) in first(1) {
            let zero = values(tensor).iter().all(|value| *value == 0.0);
            let silent = path.contains("modulation") || path == "final_layer.output.weight";
            assert_eq!(zero, silent || path.ends_with("bias"), "{path}");
        }
    }

    #[test]
    fn a_first_encoder_tells_tokens_apart() {
        let config = TextEncoderConfig::tiny();
        let model = config.init::<TestBackend>(&Default::default());
        let model = initialize(model, &config.parameters(), 1).unwrap();
        let last_row = |last: i64| {
            let ids = TensorData::new(vec![3, 14, 15, 9, 26, last], [1, 6]);
            let embeds = model.forward(TextEncoderInput {
                input_ids: Tensor::from_data(ids, &Default::default()),
                attention_mask: None,
            });
            values(embeds.narrow(1, 5, 1))
        };
        let norm = |row: &[f32]| row.iter().map(|value| value * value).sum::<f32>().sqrt();
        let (first, other) = (last_row(5), last_row(6));
        let differences = first.iter().zip(&other).map(|(first, other)| first - other);
        let difference = norm(&differences.collect::<Vec<_>>());
        assert!(difference > 0.5 * norm(&first), "{difference}");
    }

    #[test]
    fn first_latents_are_nearly_their_means() {
        let config = VaeConfig::tiny();
        let model = config.init::<TestBackend>(&Default::default());
        let model = initialize(model, &config.parameters(), 1).unwrap();
        let pixels = Tensor::random(
            [1, 3, 16, 16],
            burn::tensor::Distribution::Uniform(-1.0, 1.0),
            &Default::default(),
        );
        let latents = model.encode(pixels);
        assert!(
            values(latents.log_variance)
                .iter()
                .all(|value| *value == LOG_VARIANCE)
        );
        assert!(values(latents.mean).iter().any(|value| value.abs() > 0.1));
    }

    #[test]
    fn embeddings_kernels_and_heads_have_their_deviations() {
        let encoder = TextEncoderConfig::ovis_image_7b().parameters();
        let vae = VaeConfig::ovis_image_7b().parameters();
        let head = CharacterHeadConfig {
            cells: 4,
            classes: 3,
        }
        .parameters(64);
        let of = |list: &[Parameter], path: &str| {
            let found = list.iter().find(|parameter| parameter.path == path);
            First::of(found.unwrap())
        };
        let normal = |inputs: f32| First::Normal(1.0 / inputs.sqrt());
        assert_eq!(of(&encoder, "embedding"), First::Normal(1.0));
        assert_eq!(
            of(&encoder, "blocks.0.attention.query.weight"),
            normal(2048.0)
        );
        assert_eq!(of(&encoder, "final_norm.weight"), First::Constant(1.0));
        assert_eq!(of(&vae, "decoder.conv_in.weight"), normal(16.0 * 9.0));
        assert_eq!(of(&vae, "decoder.norm_out.weight"), First::Constant(1.0));
        assert_eq!(of(&vae, "decoder.conv_out.bias"), First::Constant(0.0));
        assert_eq!(
            of(&vae, "decoder.mid.resnet1.conv2.weight"),
            First::Constant(0.0)
        );
        assert_eq!(of(&head, "output.weight"), normal(64.0));
    }

    #[test]
    fn the_list_must_name_every_parameter() {
        let config = CharacterHeadConfig {
            cells: 4,
            classes: 3,
        };
        let head = || CharacterHead::<TestBackend>::new(&config, 8, &Default::default()).unwrap();
        let listed = config.parameters(8);
        assert!(initialize(head(), &listed, 0).is_ok());
        let error = initialize(head(), &listed[1..], 0).unwrap_err();
        assert!(error.to_string().contains("`norm.weight`"), "{error}");
    }
}
