//! ONNX networks with one image batch as input, run by `rten`.

use std::fs;
use std::path::{Path, PathBuf};

use rten::Model;
use rten_tensor::prelude::*;
use rten_tensor::{NdTensor, Tensor};

use super::error::ReaderError;

/// Network with the file that it came from.
#[derive(Debug)]
pub(super) struct Network {
    path: PathBuf,
    role: &'static str,
    model: Model,
}

impl Network {
    /// Loads a network. `role` says in messages what it does.
    ///
    /// # Errors
    /// Returns [`ReaderError`] if the file cannot be read, or is not a network with one input.
    pub(super) fn load(path: &Path, role: &'static str) -> Result<Self, ReaderError> {
        let bytes = fs::read(path).map_err(|source| ReaderError::Read {
            path: path.to_owned(),
            source,
        })?;
        let foreign = |reason| ReaderError::NotPpOcr {
            path: path.to_owned(),
            role,
            reason,
        };
        let model = Model::load(bytes).map_err(|error| foreign(error.to_string()))?;
        let (inputs, outputs) = (model.input_ids().len(), model.output_ids().len());
        if (inputs, outputs) != (1, 1) {
            return Err(foreign(format!(
                "it has {inputs} inputs and {outputs} outputs, not one of each"
            )));
        }
        Ok(Self {
            path: path.to_owned(),
            role,
            model,
        })
    }

    /// Returns a value of the file's metadata.
    pub(super) fn metadata(&self, key: &str) -> Option<&str> {
        self.model.metadata().get(key)
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
        let output = self
            .model
            .run_one(batch.into(), None)
            .map_err(|error| failed(error.to_string()))?;
        let output: Tensor<f32> = output
            .try_into()
            .map_err(|_| failed("its output is not a tensor of 32-bit numbers".to_owned()))?;
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
