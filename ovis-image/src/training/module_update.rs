//! Conversion of modules between the graph of one step and the parameters of the next.

use burn::module::{AutodiffModule, Module, ModuleMapper, Param};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, Tensor};
use serde::{Deserialize, Serialize};

use super::ParameterMap;
use super::initialize::seed_of;
use super::optimizer::{MovingAverage, Optimizer, StartedStep, sum_of_squares};
use super::parameter_map::flatten;
use crate::kernels;

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

/// Copies of parameters in bf16 that the optimizer changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MasterWeights {
    /// Copies in f32. Parameters are these, rounded.
    #[default]
    F32,
    /// None: a new value is rounded to bf16 at random, so that many small updates act as their sum
    /// does on average. Random numbers follow from the seed, the number of the step and the path of
    /// the parameter.
    StochasticRounding {
        /// Seed of the random numbers.
        seed: u64,
    },
}

/// Update of parameters in one step, which an objective may apply to one part of the models after
/// another ([`Objective::update_by_part`](super::Objective::update_by_part)).
#[derive(Debug)]
pub struct ParameterUpdate<'a, B: Backend> {
    pub(super) optimizer: &'a mut Optimizer<B>,
    pub(super) learning_rate: f64,
    /// Factor of all gradients.
    pub(super) gradient_scale: f32,
    pub(super) master_weights: MasterWeights,
    /// f32 copies of the parameters that have another dtype.
    pub(super) masters: &'a mut ParameterMap<B>,
    pub(super) average: Option<&'a mut MovingAverage<B>>,
    /// Numbers of the step, once a part is updated.
    pub(super) started: Option<Started>,
    /// Sum of the squared gradients of all parts; `None` if their norm is known and finite.
    pub(super) squares: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Started {
    step: StartedStep,
    /// Weight of the parameters in their average.
    average_weight: f32,
}

impl<B: Backend> ParameterUpdate<'_, B> {
    /// Returns a part of the models with its new parameters. `path` is that of the part, and empty
    /// for the models themselves; the gradients have their paths in the models. Parameters without a
    /// gradient do not change. Once a gradient is not finite, no part of this step changes.
    pub fn apply<M: Module<B>>(&mut self, path: &str, module: M, gradients: ParameterMap<B>) -> M {
        if let Some(squares) = &mut self.squares {
            *squares += sum_of_squares(&gradients);
            if !squares.is_finite() {
                return module;
            }
        }
        let started = *self.started.get_or_insert_with(|| Started {
            step: self
                .optimizer
                .start_step(self.learning_rate, self.gradient_scale),
            average_weight: match &mut self.average {
                Some(average) => average.start_update(),
                None => 0.0,
            },
        });
        let path = Some(path).filter(|path| !path.is_empty());
        module.map(&mut Mapper {
            path: path.map(str::to_owned).into_iter().collect(),
            gradients,
            started,
            update: self,
        })
    }

    /// Computes the new value of one parameter, flat and in its dtype.
    fn value(
        &mut self,
        path: String,
        shape: &[usize],
        parameter: Tensor<B, 1>,
        gradient: Tensor<B, 1>,
        started: &Started,
    ) -> Tensor<B, 1> {
        let dtype = parameter.dtype();
        let weight = started.average_weight;
        let value = match self.masters.remove(&path) {
            Some(master) => master,
            None => parameter.cast(DType::F32),
        };
        let optimizer = &mut self.optimizer;
        let value = optimizer.update(&path, shape, value, gradient, &started.step);
        match self.master_weights {
            MasterWeights::StochasticRounding { seed } if dtype == DType::BF16 => {
                let key = rounding_key(seed, self.optimizer.steps(), &path);
                let value = kernels::stochastic_round(value, key);
                self.add_to_average(&path, weight, || value.clone().cast(DType::F32));
                value
            }
            _ => {
                self.add_to_average(&path, weight, || value.clone());
                if dtype == DType::F32 {
                    return value;
                }
                self.masters.insert(path, value.clone());
                value.cast(dtype)
            }
        }
    }

    fn add_to_average(&mut self, path: &str, weight: f32, value: impl FnOnce() -> Tensor<B, 1>) {
        if let Some(average) = &mut self.average {
            average.update(path, value(), weight);
        }
    }
}

/// Returns the key of the random numbers of a parameter in a step.
fn rounding_key(seed: u64, step: u64, path: &str) -> u64 {
    let of_path = seed_of(seed, path);
    // The finalizer of splitmix64.
    let mut key = of_path.wrapping_add(step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    key = (key ^ (key >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    key = (key ^ (key >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ (key >> 31)
}

struct Mapper<'u, 'a, B: Backend> {
    path: Vec<String>,
    gradients: ParameterMap<B>,
    started: Started,
    update: &'u mut ParameterUpdate<'a, B>,
}

impl<B: Backend> ModuleMapper<B> for Mapper<'_, '_, B> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let path = self.path.join(".");
        let Some(gradient) = self.gradients.remove(&path) else {
            return param;
        };
        param.map(|tensor| {
            let dims = tensor.dims();
            let parameter = flatten(tensor);
            let update = &mut self.update;
            let value = update.value(path, &dims, parameter, gradient, &self.started);
            value.reshape(dims)
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
