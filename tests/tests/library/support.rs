//! The small model that most tests use, loaded once.

use std::path::PathBuf;
use std::sync::OnceLock;

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use ovis_image::{GenerationRequest, LoadOptions, OvisImageError, OvisImagePipeline};
use ovis_image_tests::golden::golden_folder;
use ovis_image_tests::layouts::copy_folder;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// Returns the folder of the `base` case's model.
pub(crate) fn base_model() -> PathBuf {
    golden_folder().join("base/model")
}

/// Returns the `base` model in f32.
pub(crate) fn pipeline() -> OvisImagePipeline<Flex> {
    static PIPELINE: OnceLock<OvisImagePipeline<Flex>> = OnceLock::new();
    PIPELINE.get_or_init(|| load(base_model()).unwrap()).clone()
}

/// Loads a folder in f32.
pub(crate) fn load(folder: PathBuf) -> Result<OvisImagePipeline<Flex>, OvisImageError> {
    OvisImagePipeline::from_pretrained(folder, LoadOptions::new(), &FlexDevice)
}

/// Returns a small and quick request.
pub(crate) fn request() -> GenerationRequest {
    GenerationRequest::new("a cat")
        .with_size(16, 16)
        .with_num_inference_steps(2)
        .with_guidance_scale(1.0)
}

/// Copies the `base` model and damages the copy.
pub(crate) fn damaged(damage: impl FnOnce(&std::path::Path)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&base_model(), folder.path());
    damage(folder.path());
    folder
}

/// Returns a tensor's values.
pub(crate) fn values<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().into_vec().unwrap()
}

/// Returns zeros of a shape.
pub(crate) fn zeros<const D: usize>(shape: [usize; D]) -> TensorData {
    TensorData::new(vec![0.0f32; shape.iter().product()], shape)
}

/// Writes a safetensors file of f32 tensors, given by name, shape and values.
pub(crate) fn write_tensors(
    path: &std::path::Path,
    tensors: impl IntoIterator<Item = (String, Vec<usize>, Vec<f32>)>,
) {
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, shape, values)| {
            let bytes = values.iter().flat_map(|value| value.to_le_bytes());
            (name, shape, bytes.collect())
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
        (name, view)
    });
    safetensors::serialize_to_file(views, None, path).unwrap();
}
