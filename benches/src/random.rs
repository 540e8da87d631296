//! Models with random weights, made where they run, and copied from one backend to another.

use std::collections::VecDeque;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Distribution, Tensor, TensorData};

/// Gives every parameter random values in `dtype`, drawn on the device: matrices like torch's
/// layers, ones and zeros for norms and biases, so that activations stay small.
pub fn randomize<B: Backend, M: Module<B>>(model: M, dtype: DType, device: &B::Device) -> M {
    struct Randomize<'a, B: Backend> {
        path: Vec<String>,
        dtype: DType,
        device: &'a B::Device,
    }

    impl<B: Backend> ModuleMapper<B> for Randomize<'_, B> {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }

        fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
            let shape = param.lazy_shape();
            let options = (self.device, self.dtype);
            let is_bias = self.path.last().is_some_and(|name| name == "bias");
            let tensor = match (D, is_bias) {
                (1, true) => Tensor::zeros(shape, options),
                (1, false) => Tensor::ones(shape, options),
                _ => {
                    let inputs: usize = shape.iter().skip(1).product();
                    let bound = 1.0 / (inputs as f64).sqrt();
                    Tensor::random(shape, Distribution::Uniform(-bound, bound), options)
                }
            };
            Param::initialized(param.id, tensor)
        }
    }

    model.map(&mut Randomize::<B> {
        path: Vec::new(),
        dtype,
        device,
    })
}

/// Parameters of a model in the order of its fields.
#[derive(Debug, Default)]
pub struct Parameters(VecDeque<TensorData>);

impl Parameters {
    /// Reads the parameters back from their device.
    pub fn of<B: Backend, M: Module<B>>(model: &M) -> Self {
        struct Collect(VecDeque<TensorData>);

        impl<B: Backend> ModuleVisitor<B> for Collect {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
                self.0.push_back(param.val().into_data());
            }
        }

        let mut collect = Collect(VecDeque::new());
        model.visit(&mut collect);
        Self(collect.0)
    }

    /// Moves the parameters into a model of the same architecture.
    pub fn give<B: Backend, M: Module<B>>(self, model: M, dtype: DType, device: &B::Device) -> M {
        struct Give<'a, B: Backend>(VecDeque<TensorData>, DType, &'a B::Device);

        impl<B: Backend> ModuleMapper<B> for Give<'_, B> {
            fn map_float<const D: usize>(
                &mut self,
                param: Param<Tensor<B, D>>,
            ) -> Param<Tensor<B, D>> {
                match self.0.pop_front() {
                    Some(data) => {
                        let data = data.convert_dtype(self.1);
                        Param::initialized(param.id, Tensor::from_data(data, (self.2, self.1)))
                    }
                    None => param,
                }
            }
        }

        model.map(&mut Give::<B>(self.0, dtype, device))
    }
}
