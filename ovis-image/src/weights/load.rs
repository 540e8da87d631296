//! Loading of weights, with every tensor accounted for. First each parameter is matched with the
//! tensors that it is made of, by names and shapes alone, and all mismatches are reported at once.
//! Only then are bytes read, one tensor at a time. Parameters that are not kept on the device are
//! matched like the others and read when used.

use std::sync::Arc;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Shape, Tensor, TensorData};

use super::names::NameTable;
use super::recipe::TensorRecipe;
use super::recipes::{Recipes, find_recipes};
use crate::config::WeightDtype;
use crate::error::Result;
use crate::parameters::Parameter;
use crate::tensor_file::Quantization;
use crate::tensor_file::TensorSource;

/// Location of a parameter before it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Residency {
    /// Kept on the device, from loading on.
    #[default]
    Device,
    /// Kept in the checkpoint's file. The first use reads it; a clone of its module made before
    /// that reads its own copy and releases the memory when dropped.
    File,
    /// Kept in host memory, quantized when loaded and dequantized whenever [`File`](Self::File)
    /// would be read. Stays on the device like the others if its rows are not a whole number of
    /// blocks.
    Quantized(Quantization),
}

/// A parameter as its checkpoint stores it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoredParameter {
    /// The parameter.
    pub parameter: Parameter,
    /// Whether the file stores it in ggml's blocks.
    pub is_quantized: bool,
    /// Its size in the file, in bytes.
    pub stored_bytes: u64,
}

/// Source of a model's weights and the format to load them in.
#[derive(Debug, Clone)]
pub struct PartWeights<'a> {
    /// The model's name in errors.
    pub part: &'static str,
    /// Tensors to load from.
    pub source: &'a Arc<TensorSource>,
    /// Naming scheme of the tensors.
    pub table: &'a NameTable,
    /// The parameters of the model.
    pub parameters: Vec<Parameter>,
    /// Dtype to load the weights in.
    pub dtype: WeightDtype,
    /// Whether tensors that the file already stores in the needed form may stay there and be
    /// computed with in place, for devices that compute in the machine's own memory. The contract
    /// is that of [`LoadOptions::with_in_place`](crate::LoadOptions::with_in_place).
    pub in_place: bool,
}

/// A model with its weights.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoadedModel<M> {
    /// The model.
    pub model: M,
    /// Files that the model still reads, for weights that are computed with in place or read when
    /// used. [Check them](TensorSource::check_unchanged) before a forward. `None` if the model has
    /// all of its weights in memory.
    pub files: Option<Arc<TensorSource>>,
}

/// Fills a model's parameters from a checkpoint in the requested dtype; `residency` chooses where
/// each parameter is kept.
///
/// Host memory peaks at the largest tensor: each is read from the map, converted, and sent to the
/// device before the next.
///
/// # Errors
/// Returns [`CheckpointError::Weights`](crate::error::CheckpointError::Weights), listing every
/// missing, unexpected and wrongly shaped tensor, before anything is read;
/// [`CheckpointError::UnknownDtype`](crate::error::CheckpointError::UnknownDtype) if a tensor
/// cannot be read as weights;
/// [`CheckpointError::InvalidFile`](crate::error::CheckpointError::InvalidFile) if a quantized
/// tensor has invalid scales; or
/// [`CheckpointError::FileChanged`](crate::error::CheckpointError::FileChanged).
pub fn load_weights<B: Backend, M: Module<B>>(
    module: M,
    weights: PartWeights<'_>,
    residency: impl Fn(&StoredParameter) -> Residency,
    device: &B::Device,
) -> Result<LoadedModel<M>> {
    let PartWeights {
        part,
        source,
        table,
        parameters,
        dtype,
        in_place,
    } = weights;
    let recipes = find_recipes(part, source, table, &parameters)?;
    tracing::debug!(part, tensors = recipes.len(), path = %source.path().display(), "loading weights");

    let mut loader = Loader::<B, _> {
        path: Vec::new(),
        source,
        recipes,
        dtype: dtype.to_burn(),
        in_place,
        device,
        residency,
        reads_files_later: false,
    };
    let model = module.map(&mut loader);
    Ok(LoadedModel {
        model,
        files: loader.reads_files_later.then(|| Arc::clone(source)),
    })
}

impl StoredParameter {
    fn new(recipe: &TensorRecipe, source: &TensorSource) -> Self {
        Self {
            parameter: recipe.parameter.clone(),
            is_quantized: recipe.is_quantized(source),
            stored_bytes: recipe.stored_bytes(source),
        }
    }
}

/// Lists the parameters of a model as their files store them. Only headers and the scales of
/// quantized tensors are read.
pub(crate) fn stored_parameters(
    part: &'static str,
    source: &TensorSource,
    table: &NameTable,
    parameters: &[Parameter],
) -> Result<Vec<StoredParameter>> {
    let recipes = find_recipes(part, source, table, parameters)?;
    let stored = recipes
        .values()
        .map(|recipe| StoredParameter::new(recipe, source));
    Ok(stored.collect())
}

/// Fills parameters by their recipes.
struct Loader<'a, B: Backend, R> {
    path: Vec<String>,
    source: &'a Arc<TensorSource>,
    recipes: Recipes,
    dtype: DType,
    in_place: bool,
    device: &'a B::Device,
    residency: R,
    /// Whether any parameter stays in the files.
    reads_files_later: bool,
}

impl<B: Backend, R> Loader<'_, B, R> {
    /// Creates a parameter that `read` fills when it is used.
    fn lazy<const D: usize>(
        &self,
        param: &Param<Tensor<B, D>>,
        shape: Vec<usize>,
        read: impl Fn() -> TensorData + Send + Sync + 'static,
    ) -> Param<Tensor<B, D>> {
        let dtype = self.dtype;
        Param::uninitialized(
            param.id,
            move |device, require_grad| {
                Tensor::from_data(read(), (device, dtype)).set_require_grad(require_grad)
            },
            self.device.clone(),
            true,
            Shape::from(shape),
        )
    }
}

impl<B: Backend, R: Fn(&StoredParameter) -> Residency> ModuleMapper<B> for Loader<'_, B, R> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let path = self.path.join(".");
        // Cannot happen for the models here, whose lists of parameters are tested against their
        // modules.
        let Some(recipe) = self.recipes.get(&path) else {
            return param;
        };
        let stored = StoredParameter::new(recipe, self.source);
        let (dtype, shape) = (self.dtype, stored.parameter.shape.clone());
        match (self.residency)(&stored) {
            Residency::File => {
                self.reads_files_later = true;
                let (source, recipe) = (Arc::clone(self.source), recipe.clone());
                return self.lazy(&param, shape, move || recipe.read(&source, dtype));
            }
            Residency::Quantized(quantization) => {
                if let Some(quantized) = recipe.quantize(self.source, quantization) {
                    return self.lazy(&param, shape, move || quantized.read(dtype));
                }
            }
            Residency::Device => {}
        }
        let mapped = if self.in_place {
            recipe.map(self.source, dtype)
        } else {
            None
        };
        self.reads_files_later |= mapped.is_some();
        let data = mapped.unwrap_or_else(|| recipe.read(self.source, dtype));
        let id = param.id;
        param.transform_for_load(Tensor::from_data(data, (self.device, dtype)), id)
    }
}
