//! Saved state of a run, stored as one safetensors file.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::optimizer::{MomentValues, Moments};
use super::parameter_map::parameter_shapes;
use super::stored_tensor::StoredTensor;
use super::{LossTerms, OptimizerConfig, ParameterMap};
use crate::error::{BoxError, OvisImageError, Result, StateError};
use crate::ops::CODES_PER_WORD;

/// Position of a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Finished steps, skipped ones included.
    pub(crate) step: u64,
    /// Number of batches already seen in the current step.
    pub(crate) micro_step: u32,
    pub(crate) skipped: u64,
    pub(crate) skipped_in_a_row: u32,
    /// Mean of recent norms of the gradients.
    pub(crate) mean_norm: f64,
}

/// Everything needed to resume a run exactly: parameters, moments, averages, accumulated
/// gradients and the position. Random numbers and the order of the data follow from the position.
#[derive(Debug, Clone)]
pub struct TrainingState<B: Backend> {
    pub(crate) position: Position,
    pub(crate) optimizer_steps: u64,
    pub(crate) average_updates: Option<u64>,
    pub(crate) accumulated_terms: LossTerms,
    pub(crate) parameters: ParameterMap<B>,
    /// State of the optimizer for each parameter.
    pub(crate) moments: BTreeMap<String, Moments<B>>,
    pub(crate) average: Option<ParameterMap<B>>,
    pub(crate) accumulated: ParameterMap<B>,
}

/// Version of the file's layout.
const VERSION: u32 = 1;

/// Header of the file.
#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    position: Position,
    optimizer_steps: u64,
    average_updates: Option<u64>,
    terms: BTreeMap<String, f64>,
    /// Data added by the program: its configuration and the position of the data.
    run: serde_json::Value,
}

/// Key of the header in the file's metadata.
const HEADER: &str = "ovis_image_training";

impl<B: Backend> TrainingState<B> {
    /// Returns the number of finished steps.
    pub fn steps(&self) -> u64 {
        self.position.step
    }

    /// Returns the parameters: in f32, or those without an f32 copy
    /// ([`MasterWeights::StochasticRounding`](super::MasterWeights)) in their dtype.
    pub fn parameters(&self) -> &ParameterMap<B> {
        &self.parameters
    }

    /// Returns the moving average of the parameters.
    pub fn average(&self) -> Option<&ParameterMap<B>> {
        self.average.as_ref()
    }

    /// Writes the state next to `path` and renames it when it is complete, so that a full disk or a
    /// crash leaves the existing file intact. `run` is stored with the state.
    ///
    /// # Errors
    /// Returns [`StateError::Io`] if the file cannot be written.
    pub fn save(&self, path: &Path, run: &serde_json::Value) -> Result<()> {
        let header = Header {
            version: VERSION,
            position: self.position.clone(),
            optimizer_steps: self.optimizer_steps,
            average_updates: self.average_updates,
            terms: owned(&self.accumulated_terms),
            run: run.clone(),
        };
        let io = |action, source| {
            OvisImageError::from(StateError::Io {
                action,
                path: path.to_owned(),
                source,
            })
        };
        let header = serde_json::to_string(&header).map_err(|e| io("write", e.into()))?;
        let metadata = HashMap::from([(HEADER.to_owned(), header)]);
        let tensors = self.groups().into_iter().flat_map(|(group, map)| {
            map.into_iter().flat_map(move |map| {
                map.iter().map(move |(name, tensor)| {
                    let shape = tensor.dims().to_vec();
                    let stored = StoredTensor::in_own_dtype(tensor.clone(), shape);
                    (format!("{group}/{name}"), stored)
                })
            })
        });
        let moments = self.moments.iter().flat_map(|(name, moments)| {
            let parts = moments.parts().into_iter();
            parts.map(move |(group, values)| {
                let stored = match values {
                    MomentValues::Floats(values) => {
                        let shape = values.dims().to_vec();
                        StoredTensor::new(values, shape)
                    }
                    MomentValues::Codes(words) => StoredTensor::codes(words),
                };
                (format!("{group}/{name}"), stored)
            })
        });
        let tensors = tensors.chain(moments);
        let part = path.with_extension("part");
        safetensors::serialize_to_file(tensors, Some(metadata), &part)
            .map_err(|error| io("write", std::io::Error::other(error)))
            .and_then(|()| sync(&part).map_err(|e| io("write", e)))
            .and_then(|()| std::fs::rename(&part, path).map_err(|e| io("rename", e)))
            .inspect_err(|_| {
                // What is left of it is of no use, and the disk may be full.
                let _ = std::fs::remove_file(&part);
            })
    }

    /// Reads a state and the `run` value stored with it.
    ///
    /// # Errors
    /// Returns [`StateError::Io`] or [`StateError::Invalid`].
    pub fn load(path: &Path, device: &B::Device) -> Result<(Self, serde_json::Value)> {
        let refused = |problem: String, source| {
            OvisImageError::from(StateError::Invalid {
                path: path.to_owned(),
                problem,
                source,
            })
        };
        let invalid = |problem: String| refused(problem, None);
        let unreadable = |source: BoxError| refused("it cannot be read".to_owned(), Some(source));
        let bytes = std::fs::read(path).map_err(|source| StateError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        let (_, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|error| unreadable(error.into()))?;
        let header = metadata.metadata().as_ref().and_then(|all| all.get(HEADER));
        let header = header.ok_or_else(|| invalid("it has no header of a run".to_owned()))?;
        let header: Header =
            serde_json::from_str(header).map_err(|error| unreadable(error.into()))?;
        if header.version != VERSION {
            return Err(invalid(format!(
                "it has version {} of the layout, and this program reads {VERSION}",
                header.version
            )));
        }
        let mut state = Self {
            position: header.position,
            optimizer_steps: header.optimizer_steps,
            average_updates: header.average_updates,
            accumulated_terms: known(header.terms),
            parameters: ParameterMap::new(),
            moments: BTreeMap::new(),
            average: header.average_updates.map(|_| ParameterMap::new()),
            accumulated: ParameterMap::new(),
        };
        let tensors = SafeTensors::deserialize(&bytes).map_err(|error| unreadable(error.into()))?;
        let mut moments = BTreeMap::<String, BTreeMap<String, MomentValues<B>>>::new();
        for (name, view) in tensors.iter() {
            let Some((group, path)) = name.split_once('/') else {
                return Err(invalid(format!("`{name}` is not a part of a state")));
            };
            let values = values_of(&view, device)
                .ok_or_else(|| invalid(format!("`{name}` is of a type that a state lacks")))?;
            if view.dtype() == Dtype::BF16 && group != "parameters" {
                return Err(invalid(format!("`{name}` is not f32")));
            }
            match (state.map_mut(group), values) {
                (Some(map), MomentValues::Floats(values)) => map.insert(path, values),
                (Some(_), MomentValues::Codes(_)) => {
                    return Err(invalid(format!("`{name}` is not f32")));
                }
                (None, values) => {
                    let parts = moments.entry(path.to_owned()).or_default();
                    parts.insert(group.to_owned(), values);
                }
            }
        }
        for (path, parts) in moments {
            let names: Vec<&str> = parts.keys().map(String::as_str).collect();
            let unknown = format!("it has {} of `{path}`", names.join(", "));
            let moments = Moments::from_parts(parts).ok_or_else(|| invalid(unknown))?;
            state.moments.insert(path, moments);
        }
        Ok((state, header.run))
    }

    /// Returns the map of a group of the file; `None` for the state of the optimizer.
    fn map_mut(&mut self, group: &str) -> Option<&mut ParameterMap<B>> {
        match group {
            "parameters" => Some(&mut self.parameters),
            "accumulated" => Some(&mut self.accumulated),
            "average" => self.average.as_mut(),
            _ => None,
        }
    }

    fn groups(&self) -> [(&'static str, Option<&ParameterMap<B>>); 3] {
        [
            ("parameters", Some(&self.parameters)),
            ("average", self.average.as_ref()),
            ("accumulated", Some(&self.accumulated)),
        ]
    }

    /// Checks that the state has every parameter of the models, and no other, and that it was saved
    /// by this optimizer.
    pub(super) fn check_against<M: Module<B>>(
        &self,
        models: &M,
        optimizer: &OptimizerConfig,
    ) -> Result<()> {
        let another = |problem: String| Err(StateError::AnotherModel { problem }.into());
        let wanted = parameter_shapes(models);
        let elements = |path: &str| Some(wanted.get(path)?.iter().product::<usize>());
        for path in wanted.keys() {
            let Some(found) = self.parameters.get(path) else {
                return another(format!("it lacks `{path}`"));
            };
            let ([found], wanted) = (found.dims(), elements(path).unwrap_or_default());
            if wanted != found {
                return another(format!("`{path}` has {found} values, not {wanted}"));
            }
        }
        for (group, map) in self.groups() {
            for (path, tensor) in map.into_iter().flat_map(ParameterMap::iter) {
                if elements(path) != Some(tensor.dims()[0]) {
                    return another(format!("`{group}/{path}` does not belong to it"));
                }
            }
        }
        for (path, moments) in &self.moments {
            let shape = wanted.get(path).filter(|shape| moments.has_shape(shape));
            let Some(shape) = shape else {
                return another(format!("the moments of `{path}` do not belong to it"));
            };
            if !moments.fits(optimizer, shape) {
                return Err(StateError::AnotherOptimizer { path: path.clone() }.into());
            }
        }
        Ok(())
    }
}

fn owned(terms: &LossTerms) -> BTreeMap<String, f64> {
    let terms = terms.0.iter();
    terms
        .map(|(name, value)| ((*name).to_owned(), *value))
        .collect()
}

/// Returns the terms whose names this version knows.
fn known(terms: BTreeMap<String, f64>) -> LossTerms {
    const NAMES: [&str; 5] = [
        LossTerms::LOSS,
        "characters",
        "pixels",
        "edges",
        "divergence",
    ];
    let value = |name: &'static str| Some((name, *terms.get(name)?));
    LossTerms::new(NAMES.into_iter().filter_map(value))
}

fn sync(path: &Path) -> std::io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

/// Reads a flat tensor of a file; `None` if it is not of f32, bf16 or codes.
fn values_of<B: Backend>(view: &TensorView<'_>, device: &B::Device) -> Option<MomentValues<B>> {
    let &[count] = view.shape() else {
        return None;
    };
    let (count, dtype) = match view.dtype() {
        Dtype::F32 => (count, DType::F32),
        Dtype::BF16 => (count, DType::BF16),
        Dtype::U8 if count.is_multiple_of(CODES_PER_WORD) => (count / CODES_PER_WORD, DType::I32),
        _ => return None,
    };
    let data = TensorData::from_bytes_vec(view.data().to_vec(), [count], dtype);
    Some(if dtype == DType::I32 {
        MomentValues::Codes(Tensor::from_data(data, (device, dtype)))
    } else {
        MomentValues::Floats(Tensor::from_data(data, (device, dtype)))
    })
}
