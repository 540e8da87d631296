//! The recorded steps of training (`tests/reference/training.py`), and the gradients of the first
//! one on any backend.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::path::{Path, PathBuf};

use burn::backend::Autodiff;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};
use ovis_image::checkpoint::PartPaths;
use ovis_image::device::{BackendVisitor, OpenDevice};
use ovis_image::training::{
    FlowMatching, FlowMatchingConfig, ImageBatch, ImageModels, Objective, ParameterMap,
    PromptBatch, Recomputation,
};
use ovis_image::{Checkpoint, CheckpointPaths, LoadOptions, OvisImagePipeline};
use safetensors::SafeTensors;

use crate::compare::relative_error;
use crate::golden::golden_folder;

/// Returns the path of a recorded file.
pub fn file(name: &str) -> PathBuf {
    golden_folder().join("training").join(name)
}

fn base_model() -> PathBuf {
    golden_folder().join("base/model")
}

fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().into_vec().unwrap()
}

/// Puts tensors with diffusers' names in the place of a part's weights, and loads the model.
pub fn loaded<B: Backend>(part: &str, tensors: &Path, device: &B::Device) -> OvisImagePipeline<B> {
    let folder = tempfile::tempdir().unwrap();
    let original = base_model().join(part).join("config.json");
    std::fs::copy(original, folder.path().join("config.json")).unwrap();
    let weights = folder.path().join("diffusion_pytorch_model.safetensors");
    std::fs::copy(tensors, weights).unwrap();
    let mut parts = PartPaths::default();
    match part {
        "vae" => parts.vae = Some(folder.path().to_owned()),
        _ => parts.transformer = Some(folder.path().to_owned()),
    }
    let paths = CheckpointPaths::discover_with(base_model(), &parts).unwrap();
    let checkpoint = Checkpoint::open_paths(&paths).unwrap();
    let pipeline = OvisImagePipeline::<B>::from_checkpoint(&checkpoint, LoadOptions::new(), device);
    pipeline.unwrap()
}

/// Reads little-endian f32.
pub fn floats(bytes: &[u8]) -> Vec<f32> {
    let bytes = bytes.chunks_exact(4);
    bytes
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

/// Batch of a step of the recorded run.
pub fn batch<B: Backend>(
    replay: &SafeTensors<'_>,
    step: usize,
    device: &B::Device,
) -> ImageBatch<B> {
    let floats = |name: &str| -> (Vec<f32>, Vec<usize>) {
        let view = replay.tensor(&format!("step_{step:03}.{name}")).unwrap();
        (floats(view.data()), view.shape().to_vec())
    };
    let tensor = |name: &str| {
        let (values, shape) = floats(name);
        Tensor::<B, 3>::from_data(TensorData::new(values, shape), (device, DType::F32))
    };
    let grid = replay.tensor(&format!("step_{step:03}.grid")).unwrap();
    let grid: Vec<i64> = grid
        .data()
        .chunks_exact(8)
        .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
        .collect();
    ImageBatch {
        latents: tensor("latents"),
        noise: tensor("noise"),
        timesteps: floats("timesteps").0,
        grid: [grid[0] as usize, grid[1] as usize],
        prompts: PromptBatch::Encoded(tensor("prompt_embeds")),
        token_weights: None,
        image_weights: Vec::new(),
        characters: None,
    }
}

/// Largest error of a parameter, relative to its own norm or, for a small one, to a hundredth of
/// the largest norm.
pub fn worst<B: Backend>(actual: &ParameterMap<B>, expected: &ParameterMap<B>) -> (String, f64) {
    let norm = |values: &[f32]| {
        values
            .iter()
            .map(|v| f64::from(*v).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    let largest = expected
        .iter()
        .map(|(_, tensor)| norm(&values(tensor.clone())));
    let floor = largest.fold(0.0, f64::max) / 100.0;
    let errors = expected.iter().map(|(path, expected)| {
        let found = actual.get(path).unwrap_or_else(|| panic!("no `{path}`"));
        let (found, expected) = (values(found.clone()), values(expected.clone()));
        let size = norm(&expected);
        let error = relative_error(&found, &expected) * size / size.max(floor);
        (path.to_owned(), error)
    });
    errors.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap()
}

/// Computes the largest error of the first step's gradients on a device, for both ways to keep the
/// forward; returns it with the parameter's path.
pub fn first_gradients(device: OpenDevice) -> (String, f64) {
    struct Visit;
    impl BackendVisitor for Visit {
        type Output = (String, f64);

        fn visit<B: Backend>(self, device: B::Device) -> Self::Output {
            on_backend::<B>(&device)
        }
    }
    device.visit(Visit)
}

fn on_backend<B: Backend>(device: &B::Device) -> (String, f64) {
    let bytes = std::fs::read(file("replay.safetensors")).unwrap();
    let replay = SafeTensors::deserialize(&bytes).unwrap();
    let pipeline =
        OvisImagePipeline::<B>::from_pretrained(base_model(), LoadOptions::new(), device);
    let models = ImageModels {
        transformer: pipeline.unwrap().transformer().clone(),
        text_encoder: None,
        auxiliary: None,
    };
    let expected = loaded::<B>("transformer", &file("first_gradients.safetensors"), device);
    let expected = with_prefix(ParameterMap::of_module(expected.transformer()));
    let errors = [Recomputation::None, Recomputation::Blocks].map(|recomputation| {
        let objective = FlowMatching::new(FlowMatchingConfig {
            recomputation,
            ..FlowMatchingConfig::default()
        });
        let batch = batch::<B>(&replay, 0, device);
        let outcome = Objective::<Autodiff<B>>::gradients(&objective, &models, batch).unwrap();
        assert_eq!(outcome.gradients.len(), expected.len());
        worst(&outcome.gradients, &expected)
    });
    errors
        .into_iter()
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap()
}

/// Puts `transformer` before all paths, as they are in [`ImageModels`].
fn with_prefix<B: Backend>(map: ParameterMap<B>) -> ParameterMap<B> {
    let with_prefix = |(path, tensor)| (format!("transformer.{path}"), tensor);
    map.into_iter().map(with_prefix).collect()
}
