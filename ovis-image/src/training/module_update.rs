//! Conversion of modules between the graph of one step and the parameters of the next.

use burn::module::{AutodiffModule, Module, ModuleMapper, Param};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, Tensor};

use super::ParameterMap;
use super::optimizer::{MovingAverage, Optimizer, StartedStep};
use super::parameter_map::flat;

/// Parameters of a model that are trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trained {
    /// All parameters.
    All,
    /// Low-rank adapters of linear layers; weights and biases are frozen.
    Adapters,
    /// Parameters inside modules of this name.
    Inside(&'static str),
}

impl Trained {
    /// Name of the modules whose parameters are trained, if not all are.
    fn module(self) -> Option<&'static str> {
        match self {
            Self::All => None,
            Self::Adapters => Some(ADAPTERS),
            Self::Inside(name) => Some(name),
        }
    }
}

/// Field of a linear layer that contains its adapters.
pub(super) const ADAPTERS: &str = "adapters";

/// Lifts a module to the backend with gradients; all of its parameters get one.
pub(super) fn lift<A: AutodiffBackend, M: AutodiffModule<A>>(module: M::InnerModule) -> M {
    lift_some(module, Trained::All)
}

/// Lifts a module to the backend with gradients. Only trained parameters get one, so that no
/// arithmetic is spent on the others.
pub(super) fn lift_some<A: AutodiffBackend, M: AutodiffModule<A>>(
    module: M::InnerModule,
    trained: Trained,
) -> M {
    struct RequireGradients {
        /// Name of the modules whose parameters get a gradient; `None` for all parameters.
        module: Option<&'static str>,
        /// Number of such modules that the current one is in.
        inside: usize,
    }
    impl<A: AutodiffBackend> ModuleMapper<A> for RequireGradients {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.inside += usize::from(self.module == Some(name));
        }

        fn exit_module(&mut self, name: &str, _container_type: &str) {
            self.inside -= usize::from(self.module == Some(name));
        }

        fn map_float<const D: usize>(&mut self, param: Param<Tensor<A, D>>) -> Param<Tensor<A, D>> {
            if self.module.is_some() && self.inside == 0 {
                return param.set_require_grad(false);
            }
            // Parameters that were loaded on a backend without gradients do not ask for one.
            param.map(Tensor::require_grad)
        }
    }
    M::from_inner(module).map(&mut RequireGradients {
        module: trained.module(),
        inside: 0,
    })
}

/// Update of all parameters of a module in one step.
pub(super) struct Update<'a, B: Backend> {
    pub(super) gradients: ParameterMap<B>,
    pub(super) optimizer: &'a mut Optimizer<B>,
    pub(super) step: StartedStep,
    /// f32 copies of the parameters that have another dtype.
    pub(super) masters: &'a mut ParameterMap<B>,
    pub(super) average: Option<&'a mut MovingAverage<B>>,
}

impl<B: Backend> Update<'_, B> {
    /// Returns the module with its new parameters. Parameters without a gradient do not change.
    pub(super) fn apply<M: Module<B>>(self, module: M) -> M {
        let average_weight = self.average.as_ref().map(|_| 0.0);
        let mut mapper = Mapper {
            path: Vec::new(),
            average_weight: average_weight.unwrap_or_default(),
            update: self,
        };
        if let Some(average) = &mut mapper.update.average {
            mapper.average_weight = average.start_update();
        }
        module.map(&mut mapper)
    }
}

struct Mapper<'a, B: Backend> {
    path: Vec<String>,
    average_weight: f32,
    update: Update<'a, B>,
}

impl<B: Backend> ModuleMapper<B> for Mapper<'_, B> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let path = self.path.join(".");
        let Some(gradient) = self.update.gradients.remove(&path) else {
            return param;
        };
        param.map(|tensor| {
            let (dims, dtype) = (tensor.dims(), tensor.dtype());
            let update = &mut self.update;
            let value = match update.masters.remove(&path) {
                Some(master) => master,
                None => flat(tensor),
            };
            let value = update
                .optimizer
                .update(&path, &dims, value, gradient, &update.step);
            if let Some(average) = &mut update.average {
                average.update(&path, value.clone(), self.average_weight);
            }
            if dtype == DType::F32 {
                return value.reshape(dims);
            }
            update.masters.insert(path, value.clone());
            value.cast(dtype).reshape(dims)
        })
    }
}

/// Replaces parameters by values of a map. Returns the module and the paths missing from the map.
pub(super) fn with_values<B: Backend, M: Module<B>>(
    module: M,
    values: &ParameterMap<B>,
) -> (M, Vec<String>) {
    struct Replace<'a, B: Backend> {
        path: Vec<String>,
        values: &'a ParameterMap<B>,
        missing: Vec<String>,
    }
    impl<B: Backend> ModuleMapper<B> for Replace<'_, B> {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }

        fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
            let path = self.path.join(".");
            let Some(value) = self.values.get(&path) else {
                self.missing.push(path);
                return param;
            };
            // The optimizer works in the parameter's memory, which must not be the map's.
            let value = value.clone() * 1.0;
            param.map(|tensor| value.cast(tensor.dtype()).reshape(tensor.dims()))
        }
    }
    let mut replace = Replace {
        path: Vec::new(),
        values,
        missing: Vec::new(),
    };
    let module = module.map(&mut replace);
    (module, replace.missing)
}
