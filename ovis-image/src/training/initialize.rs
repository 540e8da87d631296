//! Initial parameters of a model that is trained from scratch.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};

use crate::sampling::NoiseGenerator;

/// Initializes the parameters of a module, depending on the seed alone: matrices and kernels are
/// normal with a variance of `1 / inputs`, embeddings have a standard deviation of 0.02, biases are
/// zero, and scales of norms one. Modulations and the last projection of the transformer are zero,
/// so that each block starts as the identity (adaLN-Zero, arXiv 2212.09748).
pub fn initialize<B: Backend, M: Module<B>>(module: M, seed: u64) -> M {
    module.map(&mut Initialize {
        path: Vec::new(),
        seed,
    })
}

struct Initialize {
    path: Vec<String>,
    seed: u64,
}

/// Initial values of a parameter.
enum First {
    Constant(f32),
    Normal(f32),
}

impl Initialize {
    fn first(&self, shape: &[usize]) -> First {
        let name = |back: usize| {
            let index = self.path.len().checked_sub(back + 1);
            index.map_or("", |index| self.path[index].as_str())
        };
        let inputs = shape.iter().skip(1).product::<usize>().max(1);
        let normal = First::Normal(1.0 / (inputs as f32).sqrt());
        match (name(0), shape.len()) {
            ("bias", _) => First::Constant(0.0),
            (_, 1) => First::Constant(1.0),
            ("embedding", _) => First::Normal(0.02),
            _ if self.path.iter().any(|part| part.ends_with("modulation")) => First::Constant(0.0),
            _ if name(2) == "final_layer" && name(1) == "output" => First::Constant(0.0),
            _ => normal,
        }
    }
}

impl<B: Backend> ModuleMapper<B> for Initialize {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let shape: [usize; D] = param.lazy_shape().dims();
        let count = shape.iter().product();
        let values = match self.first(&shape) {
            First::Constant(value) => vec![value; count],
            First::Normal(deviation) => {
                let seed = seed_of(self.seed, &self.path.join("."));
                let noise = NoiseGenerator::from_seed(seed).randn(count);
                noise.into_iter().map(|value| value * deviation).collect()
            }
        };
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
    use crate::config::TransformerConfig;
    use crate::testing::{TestBackend, values};
    use crate::training::ParameterMap;

    fn first(seed: u64) -> ParameterMap<TestBackend> {
        let model = TransformerConfig::tiny().init::<TestBackend>(&Default::default());
        ParameterMap::of_module(&initialize(model, seed))
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
}
