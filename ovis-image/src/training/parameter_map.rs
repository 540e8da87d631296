//! Tensors keyed by the path of their parameter: gradients, moments, averages.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use burn::module::{AutodiffModule, Module, ModuleVisitor, Param};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, Tensor};

/// Flat tensors keyed by the path of their parameter, for example
/// `transformer.double_blocks.0.image_attention.qkv.weight`. They are f32 unless stated otherwise.
#[derive(Debug, Clone)]
pub struct ParameterMap<B: Backend> {
    tensors: BTreeMap<String, Tensor<B, 1>>,
}

impl<B: Backend> Default for ParameterMap<B> {
    fn default() -> Self {
        Self {
            tensors: BTreeMap::new(),
        }
    }
}

impl<B: Backend> ParameterMap<B> {
    /// Creates an empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// Copies the parameters of a module, in f32.
    pub fn of_module<M: Module<B>>(module: &M) -> Self {
        let mut map = Self::new();
        visit_parameters::<B, M, _>(module, |path, parameter| {
            map.insert(path, parameter.values.cast(DType::F32));
        });
        map
    }

    /// Copies the parameters of a module, each in its dtype.
    pub(super) fn in_own_dtypes<M: Module<B>>(module: &M) -> Self {
        let mut map = Self::new();
        visit_parameters::<B, M, _>(module, |path, parameter| {
            map.insert(path, parameter.values);
        });
        map
    }

    /// Collects the gradients of a module's parameters, with `prefix` before each path. Parameters
    /// that do not contribute to the loss have none.
    pub fn of_gradients<A, M>(module: &M, gradients: &A::Gradients, prefix: &str) -> Self
    where
        A: AutodiffBackend<InnerBackend = B>,
        M: AutodiffModule<A>,
    {
        let mut collect = CollectGradients::<A> {
            path: vec![prefix.to_owned()],
            gradients,
            found: Self::new(),
        };
        if prefix.is_empty() {
            collect.path.clear();
        }
        module.visit(&mut collect);
        collect.found
    }

    /// Returns a parameter's tensor.
    pub fn get(&self, path: &str) -> Option<&Tensor<B, 1>> {
        self.tensors.get(path)
    }

    /// Sets a parameter's tensor.
    pub fn insert(&mut self, path: impl Into<String>, tensor: Tensor<B, 1>) {
        self.tensors.insert(path.into(), tensor);
    }

    /// Removes a parameter's tensor and returns it.
    pub fn remove(&mut self, path: &str) -> Option<Tensor<B, 1>> {
        self.tensors.remove(path)
    }

    /// Adds a tensor to the one stored under its path.
    pub fn add(&mut self, path: impl Into<String>, tensor: Tensor<B, 1>) {
        let path = path.into();
        let sum = match self.tensors.remove(&path) {
            Some(before) => before + tensor,
            None => tensor,
        };
        self.tensors.insert(path, sum);
    }

    /// Adds all tensors of another map.
    pub fn add_all(&mut self, other: Self) {
        for (path, tensor) in other.tensors {
            self.add(path, tensor);
        }
    }

    /// Multiplies all tensors by a factor.
    pub fn scale(&mut self, factor: f32) {
        for tensor in self.tensors.values_mut() {
            // The map keeps no second reference, so that the product may reuse the memory.
            let values = std::mem::replace(tensor, Tensor::empty([0], &tensor.device()));
            *tensor = values * factor;
        }
    }

    /// Iterates over paths and tensors, in the order of the paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor<B, 1>)> {
        self.tensors
            .iter()
            .map(|(path, tensor)| (path.as_str(), tensor))
    }

    /// Returns the number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Returns true if there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }
}

impl<B: Backend> FromIterator<(String, Tensor<B, 1>)> for ParameterMap<B> {
    fn from_iter<I: IntoIterator<Item = (String, Tensor<B, 1>)>>(tensors: I) -> Self {
        Self {
            tensors: tensors.into_iter().collect(),
        }
    }
}

impl<B: Backend> IntoIterator for ParameterMap<B> {
    type Item = (String, Tensor<B, 1>);
    type IntoIter = std::collections::btree_map::IntoIter<String, Tensor<B, 1>>;

    fn into_iter(self) -> Self::IntoIter {
        self.tensors.into_iter()
    }
}

/// Parameter of a module.
pub(super) struct FlatParameter<B: Backend> {
    /// Flat values in the parameter's dtype.
    pub(super) values: Tensor<B, 1>,
    pub(super) shape: Vec<usize>,
}

/// Calls `visit(path, parameter)` for every parameter of a module.
pub(super) fn visit_parameters<B: Backend, M: Module<B>, F: FnMut(String, FlatParameter<B>)>(
    module: &M,
    visit: F,
) {
    struct Visit<B, F> {
        path: Vec<String>,
        visit: F,
        backend: PhantomData<B>,
    }
    impl<B: Backend, F: FnMut(String, FlatParameter<B>)> ModuleVisitor<B> for Visit<B, F> {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            let tensor = param.val();
            let parameter = FlatParameter {
                shape: tensor.dims().to_vec(),
                values: flatten(tensor),
            };
            (self.visit)(self.path.join("."), parameter);
        }
    }
    module.visit(&mut Visit {
        path: Vec::new(),
        visit,
        backend: PhantomData::<B>,
    });
}

/// Returns the shapes of a module's parameters by path. Weights that are still in their files are not
/// read.
pub fn parameter_shapes<B: Backend, M: Module<B>>(module: &M) -> BTreeMap<String, Vec<usize>> {
    struct Shapes {
        path: Vec<String>,
        found: BTreeMap<String, Vec<usize>>,
    }
    impl<B: Backend> ModuleVisitor<B> for Shapes {
        fn enter_module(&mut self, name: &str, _container_type: &str) {
            self.path.push(name.to_owned());
        }

        fn exit_module(&mut self, _name: &str, _container_type: &str) {
            self.path.pop();
        }

        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            let shape: [usize; D] = param.lazy_shape().dims();
            self.found.insert(self.path.join("."), shape.to_vec());
        }
    }
    let mut shapes = Shapes {
        path: Vec::new(),
        found: BTreeMap::new(),
    };
    module.visit(&mut shapes);
    shapes.found
}

/// Flattens a tensor, in its dtype.
pub(super) fn flatten<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Tensor<B, 1> {
    let elements = tensor.dims().iter().product::<usize>();
    tensor.reshape([elements])
}

/// Flattens a tensor, in f32.
pub(super) fn flat<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Tensor<B, 1> {
    flatten(tensor).cast(DType::F32)
}

struct CollectGradients<'a, A: AutodiffBackend> {
    path: Vec<String>,
    gradients: &'a A::Gradients,
    found: ParameterMap<A::InnerBackend>,
}

impl<A: AutodiffBackend> ModuleVisitor<A> for CollectGradients<'_, A> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<A, D>>) {
        if let Some(gradient) = param.val().grad(self.gradients) {
            self.found.add(self.path.join("."), flat(gradient));
        }
    }
}
