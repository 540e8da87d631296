//! ONNX networks with one image batch as input.

#[cfg(feature = "ort")]
mod onnx_runtime;
mod rten;

use std::fs;
use std::path::{Path, PathBuf};

use rten_tensor::prelude::*;
use rten_tensor::{NdTensor, Tensor};

use self::rten::RtenNetwork;
use super::error::ReaderError;

#[cfg(feature = "ort")]
use self::onnx_runtime::OrtNetwork;

/// Library that runs networks.
#[derive(Debug, Clone, Default)]
pub enum Runtime {
    /// The crate `rten`, which is built in.
    #[default]
    Rten,
    /// onnxruntime, loaded from its file.
    #[cfg(feature = "ort")]
    OnnxRuntime(onnx_runtime::OnnxRuntime),
}

impl Runtime {
    /// Loads onnxruntime from its file, such as `libonnxruntime.so.1.32.0` of the Python package
    /// `onnxruntime`. A process can do this once.
    ///
    /// # Errors
    /// Returns [`ReaderError::Runtime`] if the file is not onnxruntime 1.17 or later.
    #[cfg(feature = "ort")]
    pub fn load(path: &Path) -> Result<Self, ReaderError> {
        onnx_runtime::OnnxRuntime::load(path).map(Self::OnnxRuntime)
    }
}

/// Network in one of the libraries.
#[derive(Debug)]
enum Engine {
    Rten(RtenNetwork),
    #[cfg(feature = "ort")]
    OnnxRuntime(OrtNetwork),
}

/// Network with the file that it came from.
#[derive(Debug)]
pub(super) struct Network {
    path: PathBuf,
    role: &'static str,
    engine: Engine,
}

impl Network {
    /// Loads a network. `role` says in messages what it does.
    ///
    /// # Errors
    /// Returns [`ReaderError`] if the file cannot be read, or is not a network with one input.
    pub(super) fn load(
        path: &Path,
        role: &'static str,
        runtime: &Runtime,
    ) -> Result<Self, ReaderError> {
        let bytes = fs::read(path).map_err(|source| ReaderError::Read {
            path: path.to_owned(),
            source,
        })?;
        let engine = match runtime {
            Runtime::Rten => RtenNetwork::load(bytes).map(Engine::Rten),
            #[cfg(feature = "ort")]
            Runtime::OnnxRuntime(library) => library.network(&bytes).map(Engine::OnnxRuntime),
        };
        let engine = engine.map_err(|reason| ReaderError::NotPpOcr {
            path: path.to_owned(),
            role,
            reason,
        })?;
        Ok(Self {
            path: path.to_owned(),
            role,
            engine,
        })
    }

    /// Returns a value of the file's metadata.
    pub(super) fn metadata(&self, key: &str) -> Option<String> {
        match &self.engine {
            Engine::Rten(network) => network.metadata(key),
            #[cfg(feature = "ort")]
            Engine::OnnxRuntime(network) => network.metadata(key),
        }
    }

    /// Runs the network on a batch `[images, 3, height, width]`.
    ///
    /// # Errors
    /// Returns [`ReaderError`] if the network fails, or its output has not `RANK` axes with one row
    /// for each image.
    pub(super) fn run<const RANK: usize>(
        &self,
        batch: NdTensor<f32, 4>,
    ) -> Result<NdTensor<f32, RANK>, ReaderError> {
        let failed = |reason| ReaderError::Run {
            path: self.path.clone(),
            reason,
        };
        let images = batch.size(0);
        let output: Tensor<f32> = match &self.engine {
            Engine::Rten(network) => network.run(batch),
            #[cfg(feature = "ort")]
            Engine::OnnxRuntime(network) => network.run(batch),
        }
        .map_err(failed)?;
        let shape = output.shape().to_vec();
        let of_each_image = shape.first() == Some(&images);
        let output = output.try_into().ok().filter(|_| of_each_image);
        output.ok_or_else(|| {
            failed(format!(
                "its output for {images} images has the shape {shape:?}"
            ))
        })
    }

    /// Runs the network on an empty image and checks the shape of the output.
    ///
    /// # Errors
    /// Returns [`ReaderError::NotPpOcr`] if the network fails, or if `problem` finds one with the
    /// shape of the output.
    pub(super) fn probe<const RANK: usize>(
        &self,
        [height, width]: [usize; 2],
        problem: impl Fn([usize; RANK]) -> Option<String>,
    ) -> Result<(), ReaderError> {
        let reason = match self.run(NdTensor::zeros([1, 3, height, width])) {
            Ok(output) => problem(output.shape()),
            Err(ReaderError::Run { reason, .. }) => Some(reason),
            Err(other) => return Err(other),
        };
        reason.map_or(Ok(()), |reason| Err(self.foreign(reason)))
    }

    /// Returns the error that this file is not the model that it should be.
    pub(super) fn foreign(&self, reason: String) -> ReaderError {
        ReaderError::NotPpOcr {
            path: self.path.clone(),
            role: self.role,
            reason,
        }
    }
}

/// Checks the number of a network's inputs and outputs.
///
/// # Errors
/// Returns what is wrong.
fn check_ends(inputs: usize, outputs: usize) -> Result<(), String> {
    if (inputs, outputs) == (1, 1) {
        return Ok(());
    }
    Err(format!(
        "it has {inputs} inputs and {outputs} outputs, not one of each"
    ))
}
