//! Parts of training that depend on the stage: validation, samples, export of the trained models.

use burn::backend::Autodiff;
use burn::tensor::backend::Backend;
use image::RgbImage;
use ovis_image::training::Objective;
use serde_json::{Map, Value};

use super::folder::RunFolder;
use crate::shared::terminal::shown;
use anyhow::{Context, Result};

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

    /// Returns the names of the exports of the models and of their moving average.
    fn exports(&self) -> [&'static str; 2] {
        ["model", "model-ema"]
    }

    /// Writes the models to a new folder or file.
    ///
    /// # Errors
    /// Returns the errors of writing.
    fn export(&self, models: &TrainedModels<B, Self>, path: &std::path::Path) -> Result<()>;
}

/// Exports to a folder of the run. The old model is replaced when the new one is complete.
pub(super) fn export<B: Backend, S: Stage<B>>(
    stage: &S,
    models: &TrainedModels<B, S>,
    run: &RunFolder,
    name: &str,
) -> Result<()> {
    let (target, new, old) = (
        run.model(name),
        run.model(&format!(".{name}.new")),
        run.model(&format!(".{name}.old")),
    );
    let remove = |path: &std::path::Path| {
        if path.is_file() {
            std::fs::remove_file(path)
        } else {
            std::fs::remove_dir_all(path)
        }
    };
    let clear = |path: &std::path::Path| match remove(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", shown(path)))
        }
        _ => Ok(()),
    };
    clear(&new)?;
    clear(&old)?;
    stage.export(models, &new)?;
    let moved = |from: &std::path::Path, to: &std::path::Path| {
        std::fs::rename(from, to).with_context(|| format!("cannot replace {}", shown(&target)))
    };
    if target.exists() {
        moved(&target, &old)?;
    }
    moved(&new, &target)?;
    clear(&old)
}
