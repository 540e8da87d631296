//! Helpers for the models' unit tests: a backend, and weights and inputs that do not depend on the
//! run or on the order of the tests.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};

use crate::sampling::NoiseGenerator;

/// Backend that runs the plain path of every operation, on one thread.
pub(crate) type TestBackend = burn_ndarray::NdArray<f32>;

/// Tensor of the backend that most unit tests run on.
pub(crate) type TestTensor<const D: usize> = Tensor<TestBackend, D>;

/// Creates an f32 tensor of the given values.
pub(crate) fn tensor<B: Backend, const D: usize>(
    shape: [usize; D],
    values: impl Into<Vec<f32>>,
) -> Tensor<B, D> {
    let data = TensorData::new(values.into(), shape);
    Tensor::from_data(data, (&B::Device::default(), DType::F32))
}

/// Creates a tensor of normally distributed values, which depend only on the seed.
pub(crate) fn random<B: Backend, const D: usize>(seed: u64, shape: [usize; D]) -> Tensor<B, D> {
    let count = shape.iter().product();
    tensor(shape, NoiseGenerator::from_seed(seed).randn(count))
}

/// Gives a module random weights, which depend only on the seed: matrices that keep the size of
/// activations, scales of norms near 1, small biases.
pub(crate) fn randomized<B: Backend, M: Module<B>>(module: M, seed: u64) -> M {
    struct Randomize {
        generator: NoiseGenerator,
        path: Vec<String>,
    }

    impl<B: Backend> ModuleMapper<B> for Randomize {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }

        fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
            let shape: [usize; D] = param.lazy_shape().dims();
            let noise = self.generator.randn(shape.iter().product());
            let is_bias = self.path.last().is_some_and(|name| name == "bias");
            let (center, spread) = match D {
                1 if is_bias => (0.0, 0.1),
                1 => (1.0, 0.1),
                _ => {
                    let inputs: usize = shape.iter().skip(1).product();
                    (0.0, 1.0 / (inputs as f32).sqrt())
                }
            };
            let values: Vec<f32> = noise.iter().map(|value| center + spread * value).collect();
            Param::initialized(param.id, tensor(shape, values))
        }
    }

    module.map(&mut Randomize {
        generator: NoiseGenerator::from_seed(seed),
        path: Vec::new(),
    })
}

/// Returns the tensor's elements in order.
pub(crate) fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().into_vec().unwrap()
}

/// Returns the largest absolute difference between two lists of the same length.
pub(crate) fn largest_difference(actual: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(actual.len(), expected.len());
    let pairs = actual.iter().zip(expected);
    pairs
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, |largest, next| {
            // `f32::max` would ignore NaN.
            if next > largest || next.is_nan() {
                next
            } else {
                largest
            }
        })
}

/// Fails unless two tensors have the same shape and differ by at most `tolerance`.
#[track_caller]
pub(crate) fn assert_close<B: Backend, const D: usize>(
    actual: Tensor<B, D>,
    expected: Tensor<B, D>,
    tolerance: f32,
) {
    assert_eq!(actual.dims(), expected.dims());
    let difference = largest_difference(&values(actual), &values(expected));
    assert!(difference <= tolerance, "{difference:.1e}");
}
