//! Saved state of a run, stored as one safetensors file.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use burn::module::Module;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::stored_tensor::StoredTensor;
use super::{LossTerms, ParameterMap};
use crate::error::{BoxError, OvisImageError, Result, StateError};

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

/// Everything needed to resume a run exactly: parameters in f32, moments, averages, accumulated
/// gradients and the position. Random numbers and the order of the data follow from the position.
#[derive(Debug, Clone)]
pub struct TrainingState<B: Backend> {
    pub(crate) position: Position,
    pub(crate) optimizer_steps: u64,
    pub(crate) average_updates: Option<u64>,
    pub(crate) accumulated_terms: LossTerms,
    pub(crate) parameters: ParameterMap<B>,
    pub(crate) first_moments: ParameterMap<B>,
    pub(crate) second_moments: ParameterMap<B>,
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

    /// Returns the parameters in f32.
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
                    let stored = StoredTensor::new(tensor.clone(), tensor.dims().to_vec());
                    (format!("{group}/{name}"), stored)
                })
            })
        });
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
            first_moments: ParameterMap::new(),
            second_moments: ParameterMap::new(),
            average: header.average_updates.map(|_| ParameterMap::new()),
            accumulated: ParameterMap::new(),
        };
        let tensors = SafeTensors::deserialize(&bytes).map_err(|error| unreadable(error.into()))?;
        for (name, view) in tensors.iter() {
            let values = values_of(&view).ok_or_else(|| invalid(format!("`{name}` is not f32")))?;
            let count = values.len();
            let tensor = Tensor::from_data(TensorData::new(values, [count]), (device, DType::F32));
            let Some((group, path)) = name.split_once('/') else {
                return Err(invalid(format!("`{name}` is not a part of a state")));
            };
            let map = match group {
                "parameters" => Some(&mut state.parameters),
                "first_moments" => Some(&mut state.first_moments),
                "second_moments" => Some(&mut state.second_moments),
                "accumulated" => Some(&mut state.accumulated),
                "average" => state.average.as_mut(),
                _ => None,
            };
            let map = map.ok_or_else(|| invalid(format!("`{name}` is not a part of a state")))?;
            map.insert(path, tensor);
        }
        Ok((state, header.run))
    }

    fn groups(&self) -> [(&'static str, Option<&ParameterMap<B>>); 5] {
        [
            ("parameters", Some(&self.parameters)),
            ("first_moments", Some(&self.first_moments)),
            ("second_moments", Some(&self.second_moments)),
            ("average", self.average.as_ref()),
            ("accumulated", Some(&self.accumulated)),
        ]
    }

    /// Checks that the state has every parameter of the models, and no other.
    pub(crate) fn check_against<M: Module<B>>(&self, models: &M) -> Result<()> {
        let another = |problem: String| Err(StateError::AnotherModel { problem }.into());
        let wanted = ParameterMap::of_module(models);
        for (path, tensor) in wanted.iter() {
            let Some(found) = self.parameters.get(path) else {
                return another(format!("it lacks `{path}`"));
            };
            let ([wanted], [found]) = (tensor.dims(), found.dims());
            if wanted != found {
                return another(format!("`{path}` has {found} values, not {wanted}"));
            }
        }
        for (group, map) in self.groups() {
            for (path, tensor) in map.into_iter().flat_map(ParameterMap::iter) {
                let wanted = wanted.get(path).map(|wanted| wanted.dims());
                if wanted != Some(tensor.dims()) {
                    return another(format!("`{group}/{path}` does not belong to it"));
                }
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

/// Reads the values of a flat f32 tensor of a file.
fn values_of(view: &safetensors::tensor::TensorView<'_>) -> Option<Vec<f32>> {
    if view.dtype() != Dtype::F32 || view.shape().len() != 1 {
        return None;
    }
    let values = view.data().chunks_exact(4);
    Some(
        values
            .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .collect(),
    )
}
