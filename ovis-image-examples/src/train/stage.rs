//! Parts of training that depend on the stage: validation, samples, export of the trained models.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use burn::backend::Autodiff;
use burn::tensor::backend::Backend;
use image::RgbImage;
use ovis_image::training::Objective;
use serde_json::{Map, Value};

use super::folder::RunFolder;
use crate::shared::terminal::shown;

/// Models that a stage trains.
pub type TrainedModels<B, S> = <<S as Stage<B>>::Objective as Objective<Autodiff<B>>>::Models;

/// Batches that a stage trains on.
pub type TrainedBatch<B, S> = <<S as Stage<B>>::Objective as Objective<Autodiff<B>>>::Batch;

/// Stage of training.
pub trait Stage<B: Backend> {
    /// Objective that training minimizes.
    type Objective: Objective<Autodiff<B>>;

    /// Returns the number of images in a batch.
    fn images_of(&self, batch: &TrainedBatch<B, Self>) -> usize;

    /// Updates what changes over a run, before the batch that follows `images` images.
    fn before_batch(&self, objective: &mut Self::Objective, images: u64);

    /// Measures the models on held-out images: `validation`, and more by name. Empty without
    /// held-out images.
    ///
    /// # Errors
    /// Returns the errors of the models.
    fn validate(
        &self,
        objective: &Self::Objective,
        models: &TrainedModels<B, Self>,
    ) -> Result<Map<String, Value>>;

    /// Draws images with the models, as a grid.
    ///
    /// # Errors
    /// Returns the errors of the models.
    fn sample(&self, models: &TrainedModels<B, Self>) -> Result<Option<RgbImage>>;

    /// Returns the paths of the exports of the models and of their moving average.
    fn exports(&self, run: &RunFolder) -> [PathBuf; 2] {
        ["model", "model-ema"].map(|name| run.model(name))
    }

    /// Writes the models to a new folder or file.
    ///
    /// # Errors
    /// Returns the errors of writing.
    fn export(&self, models: &TrainedModels<B, Self>, path: &Path) -> Result<()>;
}

/// Exports the models. The old export is replaced when the new one is complete.
pub(super) fn export<B: Backend, S: Stage<B>>(
    stage: &S,
    models: &TrainedModels<B, S>,
    target: &Path,
) -> Result<()> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let beside = |ending: &str| target.with_file_name(format!(".{name}.{ending}"));
    let (new, old) = (beside("new"), beside("old"));
    let remove = |path: &Path| {
        if path.is_file() {
            std::fs::remove_file(path)
        } else {
            std::fs::remove_dir_all(path)
        }
    };
    let clear = |path: &Path| match remove(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", shown(path)))
        }
        _ => Ok(()),
    };
    clear(&new)?;
    clear(&old)?;
    stage.export(models, &new)?;
    let moved = |from: &Path, to: &Path| {
        std::fs::rename(from, to).with_context(|| format!("cannot replace {}", shown(target)))
    };
    if target.exists() {
        moved(target, &old)?;
    }
    moved(&new, target)?;
    clear(&old)
}
