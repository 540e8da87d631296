//! Checks of a model that was constructed elsewhere and not read from a checkpoint. Parameters that
//! do not fit would panic in the middle of an image.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor};

use super::part::PartConfig;
use crate::config::WeightDtype;
use crate::error::{DeviceError, OvisImageError, Result};
use crate::parameters::Parameter;

/// Checks that a model has the parameters that its configuration lists, all on the device and in
/// one dtype, and returns that dtype. Parameters that have not been read yet are assumed to have
/// the dtype of `probe`, one of the small ones, which is read.
pub(crate) fn check_given_model<B: Backend, C: PartConfig>(
    config: &C,
    model: &impl Module<B>,
    probe: &Param<Tensor<B, 1>>,
    device: &B::Device,
) -> Result<WeightDtype> {
    config.check()?;
    let fail = |reason: String| Err(OvisImageError::config(C::PART, reason));
    let burn_dtype = probe.val().dtype();
    let Some(dtype) = WeightDtype::from_burn(burn_dtype) else {
        return fail(format!(
            "its weights are {burn_dtype:?}, but must be f32, f16 or bf16"
        ));
    };
    check_dtype::<B>(dtype, device)?;
    let mut found = FoundParameters::<B>::default();
    model.visit(&mut found);
    if found.devices.iter().any(|other| other != device) {
        return fail(format!(
            "its weights are not on the pipeline's device {device:?}"
        ));
    }
    for Parameter { path, shape, .. } in &config.list_parameters() {
        match found.parameters.remove(path) {
            Some(known) if known.shape != *shape => {
                return fail(format!(
                    "`{path}` has shape {:?}, but the model's other sizes require {shape:?}",
                    known.shape
                ));
            }
            Some(Found {
                dtype: Some(other), ..
            }) if other != burn_dtype => {
                return fail(format!(
                    "`{path}` is {other:?}, but other weights are {burn_dtype:?}: convert the model to one dtype"
                ));
            }
            Some(_) => (),
            None => return fail(format!("it has no parameter `{path}`")),
        }
    }
    match found.parameters.keys().next() {
        Some(path) => fail(format!("it has the unexpected parameter `{path}`")),
        None => Ok(dtype),
    }
}

/// Rejects a dtype that the device does not compute in.
pub(crate) fn check_dtype<B: Backend>(dtype: WeightDtype, device: &B::Device) -> Result<()> {
    if B::supports_dtype(device, dtype.to_burn()) {
        return Ok(());
    }
    let alternative = match dtype {
        WeightDtype::BF16 if B::supports_dtype(device, WeightDtype::F16.to_burn()) => "f16 or f32",
        _ => "f32",
    };
    Err(DeviceError::UnsupportedDtype {
        device: B::name(device),
        dtype: dtype.to_string(),
        alternative,
    }
    .into())
}

/// Parameters of a model by path, without LoRAs, whose sizes are their own.
struct FoundParameters<B: Backend> {
    path: Vec<String>,
    parameters: BTreeMap<String, Found>,
    devices: Vec<B::Device>,
}

struct Found {
    shape: Vec<usize>,
    /// `None` until a parameter is read.
    dtype: Option<DType>,
}

impl<B: Backend> Default for FoundParameters<B> {
    fn default() -> Self {
        Self {
            path: Vec::new(),
            parameters: BTreeMap::new(),
            devices: Vec::new(),
        }
    }
}

impl<B: Backend> ModuleVisitor<B> for FoundParameters<B> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if self.path.iter().any(|name| name == "adapters") {
            return;
        }
        let device = param.lazy_device();
        if !self.devices.contains(&device) {
            self.devices.push(device);
        }
        let found = Found {
            shape: param.lazy_shape().to_vec(),
            dtype: param.is_initialized().then(|| param.val().dtype()),
        };
        self.parameters.insert(self.path.join("."), found);
    }
}
