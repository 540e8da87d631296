//! Loading with every tensor accounted for. First a plan is made from shapes alone, and all that
//! does not fit is reported at once; only then are bytes read, one tensor at a time. Parameters that
//! are not kept on the device are planned like the others and read when used.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Shape, Tensor, TensorData};

use super::names::NameTable;
use super::plan::{Plan, plan};
use super::quantise::Quantisation;
use super::source::TensorSource;
use crate::error::Result;

/// Where a parameter is before it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Residency {
    /// On the device, from loading on.
    #[default]
    Device,
    /// In the checkpoint's file. Its first use reads it; a clone of its module made before that
    /// reads for itself alone and gives the memory back when dropped.
    File,
    /// In the host's memory, rounded to blocks when loaded; widened as [`File`](Self::File) reads.
    /// On the device like the others if its rows are no whole number of blocks.
    Quantised(Quantisation),
}

/// A parameter of which a [`Residency`] is asked.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ParameterInfo<'a> {
    /// For example `double_blocks.0.image_attention.qkv.weight`.
    pub path: &'a str,
    /// Its axes.
    pub shape: &'a [usize],
    /// Whether the file holds it in ggml's blocks.
    pub quantised: bool,
}

/// Where a model's weights come from and what they become.
#[derive(Debug, Clone, Copy)]
pub struct PartWeights<'a> {
    /// The model's name in errors.
    pub part: &'static str,
    /// Its tensors.
    pub source: &'a Arc<TensorSource>,
    /// Their names.
    pub table: &'a NameTable,
    /// f32, f16 or bf16.
    pub dtype: DType,
    /// Whether tensors that the file holds as they are needed may stay there and be computed with in
    /// place: for devices that compute in the machine's own memory. The file must not be shortened
    /// or overwritten meanwhile.
    pub in_place: bool,
}

/// Fills a model's parameters from a checkpoint in the dtype asked for; `residency` tells of each
/// parameter where it shall be.
///
/// Host memory peaks at the largest tensor: each is read from the map, converted, and sent to the
/// device before the next.
///
/// # Errors
/// [`OvisImageError::Weights`](crate::OvisImageError::Weights) listing every missing, unexpected and wrongly shaped tensor, before
/// anything is read; [`OvisImageError::UnknownDtype`](crate::OvisImageError::UnknownDtype) for a weight that cannot be read as
/// one, [`OvisImageError::InvalidFile`](crate::OvisImageError::InvalidFile) for quantised ones with broken scales.
///
/// # Panics
/// If `dtype` is not f32, f16 or bf16.
pub fn load_weights<B: Backend, M: Module<B>>(
    module: M,
    weights: PartWeights<'_>,
    residency: impl Fn(ParameterInfo<'_>) -> Residency,
    device: &B::Device,
) -> Result<M> {
    let PartWeights {
        part,
        source,
        table,
        dtype,
        in_place,
    } = weights;
    let plan = plan(part, source, table, &parameter_shapes(&module))?;
    tracing::debug!(part, tensors = plan.len(), path = %source.path().display(), "loading weights");

    Ok(module.map(&mut Loader::<B, _> {
        path: Vec::new(),
        source,
        plan,
        dtype,
        in_place,
        device,
        residency,
    }))
}

/// A parameter of a model, and what its file says of it.
#[derive(Debug, Clone)]
pub(crate) struct PlannedParameter {
    pub(crate) path: String,
    shape: Vec<usize>,
    quantised: bool,
}

impl PlannedParameter {
    pub(crate) fn info(&self) -> ParameterInfo<'_> {
        ParameterInfo {
            path: &self.path,
            shape: &self.shape,
            quantised: self.quantised,
        }
    }

    pub(crate) fn elements(&self) -> u64 {
        self.shape.iter().map(|size| *size as u64).product()
    }

    /// Its bytes when it is rounded; 0 if it cannot be, and is on the device.
    pub(crate) fn bytes_in(&self, quantisation: Quantisation) -> u64 {
        quantisation
            .encoding()
            .bytes_of(&self.shape)
            .map_or(0, |bytes| bytes as u64)
    }

    /// The block that it belongs to, for example `single_blocks.3`; `None` for a modulation's, which
    /// is read apart, and for what is outside of blocks.
    pub(crate) fn block(&self) -> Option<&str> {
        let mut dots = self.path.match_indices('.').map(|(at, _)| at);
        let (first, second) = (dots.next()?, dots.next()?);
        let is_block = self.path[..first].ends_with("blocks") && !self.path.contains("modulation.");
        is_block.then(|| &self.path[..second])
    }
}

/// The parameters of a model, planned against its files: nothing of those is read but headers, and
/// the scales of quantised tensors.
pub(crate) fn planned_parameters<B: Backend, M: Module<B>>(
    module: &M,
    part: &'static str,
    source: &TensorSource,
    table: &NameTable,
) -> Result<Vec<PlannedParameter>> {
    let plan = plan(part, source, table, &parameter_shapes(module))?;
    Ok(plan
        .into_iter()
        .map(|(path, planned)| PlannedParameter {
            path,
            quantised: planned.is_quantised(source),
            shape: planned.shape,
        })
        .collect())
}

/// A model's parameters by path and shape, taken without materialising any.
pub(super) fn parameter_shapes<B: Backend>(
    module: &impl Module<B>,
) -> BTreeMap<String, Vec<usize>> {
    let mut parameters = ParameterShapes::default();
    module.visit(&mut parameters);
    parameters.shapes
}

#[derive(Default)]
struct ParameterShapes {
    path: Vec<String>,
    shapes: BTreeMap<String, Vec<usize>>,
}

impl<B: Backend> ModuleVisitor<B> for ParameterShapes {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        self.shapes
            .insert(self.path.join("."), param.lazy_shape().to_vec());
    }
}

/// Fills parameters from their plan.
struct Loader<'a, B: Backend, R> {
    path: Vec<String>,
    source: &'a Arc<TensorSource>,
    plan: Plan,
    dtype: DType,
    in_place: bool,
    device: &'a B::Device,
    residency: R,
}

impl<B: Backend, R> Loader<'_, B, R> {
    /// A parameter that `read` fills when it is used.
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

impl<B: Backend, R: Fn(ParameterInfo<'_>) -> Residency> ModuleMapper<B> for Loader<'_, B, R> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let path = self.path.join(".");
        // Unreachable: the plan has every parameter that the visitor saw.
        let Some(planned) = self.plan.get(&path) else {
            return param;
        };
        let info = ParameterInfo {
            path: &path,
            shape: &planned.shape,
            quantised: planned.is_quantised(self.source),
        };
        let (dtype, shape) = (self.dtype, planned.shape.clone());
        match (self.residency)(info) {
            Residency::File => {
                let (source, planned) = (Arc::clone(self.source), planned.clone());
                return self.lazy(&param, shape, move || planned.read(&source, dtype));
            }
            Residency::Quantised(quantisation) => {
                if let Some(quantised) = planned.quantise(self.source, quantisation) {
                    return self.lazy(&param, shape, move || quantised.read(dtype));
                }
            }
            Residency::Device => {}
        }
        let mapped = match self.in_place {
            true => planned.map(self.source, dtype),
            false => None,
        };
        let data = mapped.unwrap_or_else(|| planned.read(self.source, dtype));
        let id = param.id;
        param.transform_for_load(Tensor::from_data(data, (self.device, dtype)), id)
    }
}
