//! Networks in onnxruntime, whose library is loaded when the program runs.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;
use ort::session::Session;
use ort::value::Tensor as Value;
use rten_tensor::prelude::*;
use rten_tensor::{NdTensor, Tensor};

use super::check_ends;
use crate::reader::error::ReaderError;

/// The loaded library.
#[derive(Debug, Clone)]
pub struct OnnxRuntime(Environment);

impl OnnxRuntime {
    pub(super) fn load(path: &Path) -> Result<Self, ReaderError> {
        let failed = |reason: String| ReaderError::Runtime {
            path: path.to_owned(),
            reason,
        };
        // A relative path would be looked for beside the program.
        let whole = path.canonicalize().map_err(|source| ReaderError::Read {
            path: path.to_owned(),
            source,
        })?;
        let builder = ort::init_from(whole).map_err(|error| failed(error.to_string()))?;
        let environment = builder.with_telemetry(false).build();
        environment
            .map(Self)
            .map_err(|error| failed(error.to_string()))
    }

    /// Loads a network from the bytes of its file.
    ///
    /// # Errors
    /// Returns what is wrong with the file.
    pub(super) fn network(&self, bytes: &[u8]) -> Result<OrtNetwork, String> {
        let session = || -> ort::Result<Session> {
            let threads = rayon::current_num_threads();
            let mut builder = Session::builder(&self.0)?.with_intra_threads(threads)?;
            builder.commit_from_memory(bytes)
        };
        let session = session().map_err(|error| error.to_string())?;
        check_ends(session.inputs().len(), session.outputs().len())?;
        Ok(OrtNetwork(Mutex::new(session)))
    }
}

/// Network in onnxruntime.
#[derive(Debug)]
pub(super) struct OrtNetwork(Mutex<Session>);

impl OrtNetwork {
    /// Returns a value of the file's metadata.
    pub(super) fn metadata(&self, key: &str) -> Option<String> {
        let session = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        session.metadata().ok()?.custom(key)
    }

    /// Runs the network.
    ///
    /// # Errors
    /// Returns the reason if it fails.
    pub(super) fn run(&self, batch: NdTensor<f32, 4>) -> Result<Tensor<f32>, String> {
        let mut session = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut run = || -> ort::Result<(Vec<usize>, Vec<f32>)> {
            let input = Value::from_array((batch.shape(), batch.to_vec()))?;
            let output = session.run(ort::inputs![input])?;
            let (shape, values) = output[0].try_extract_tensor::<f32>()?;
            let shape = shape.iter().map(|size| *size as usize).collect();
            Ok((shape, values.to_vec()))
        };
        let (shape, values) = run().map_err(|error| error.to_string())?;
        Ok(Tensor::from_data(&shape, values))
    }
}
