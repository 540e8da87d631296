//! Golden cases: the inputs of the Python reference and its results.

use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use ovis_image::{GenerationRequest, WeightDtype};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

/// Returns the path of `tests/golden`.
pub fn golden_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// A single value or a list of values.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// A single value.
    One(T),
    /// A list of values.
    Many(Vec<T>),
}

impl<T: Clone> OneOrMany<T> {
    /// Returns the values as a list.
    pub fn to_vec(&self) -> Vec<T> {
        match self {
            Self::One(value) => vec![value.clone()],
            Self::Many(values) => values.clone(),
        }
    }
}

/// Content of `case.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct Case {
    /// The case's name and folder.
    pub name: String,
    /// The model's folder, relative to the case's.
    pub model: String,
    /// Prompts, one or several.
    pub prompt: OneOrMany<String>,
    /// Negative prompts.
    pub negative_prompt: OneOrMany<String>,
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Denoising steps.
    pub steps: usize,
    /// Guidance scale.
    pub guidance_scale: f32,
    /// Seed of the batch, or one per image.
    pub seed: OneOrMany<u64>,
    /// Number of images per prompt.
    pub images_per_prompt: usize,
    /// Custom sigmas.
    pub sigmas: Option<Vec<f32>>,
    /// Number of tokens of each prompt before truncation.
    pub prompt_tokens: Vec<usize>,
    /// Text that the image should show, for the released weights.
    #[serde(default)]
    pub text: Option<String>,
    /// Folder with the case's files; `tests/golden/NAME` by default.
    #[serde(skip)]
    pub folder: Option<PathBuf>,
    /// Folder of the model, for the case whose weights are not committed.
    #[serde(skip)]
    pub written_model: Option<PathBuf>,
}

/// The reference's tensors of a case in one dtype.
#[derive(Debug)]
pub struct Golden {
    bytes: Vec<u8>,
}

/// Names of the cases that have a golden of a dtype.
pub const CASES: [&str; 11] = [
    "base",
    "head32_gqa4",
    "head64_sharded",
    "prompt_zh",
    "prompt_empty",
    "prompt_special",
    "prompt_long",
    "custom_sigmas",
    "batch_seeds",
    "batch_one_generator",
    "one_token",
];

impl Case {
    /// Reads a case by name.
    ///
    /// # Panics
    /// Panics if the case does not exist: a test without its golden has failed.
    #[allow(clippy::expect_used)]
    pub fn read(name: &str) -> Self {
        let text = std::fs::read(golden_folder().join(name).join("case.json"))
            .expect("case.json is committed");
        serde_json::from_slice(&text).expect("case.json has the fields of Case")
    }

    /// Reads a case from a folder outside of the repository.
    ///
    /// # Errors
    /// Returns a text that describes the problem with `case.json`.
    pub fn read_from(folder: &Path) -> Result<Self, String> {
        let path = folder.join("case.json");
        let text = std::fs::read(&path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        let mut case: Self = serde_json::from_slice(&text)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        case.folder = Some(folder.to_owned());
        Ok(case)
    }

    fn folder(&self) -> PathBuf {
        let folder = self.folder.clone();
        folder.unwrap_or_else(|| golden_folder().join(&self.name))
    }

    /// Returns the folder of the case's model.
    pub fn model_folder(&self) -> PathBuf {
        if let Some(folder) = &self.written_model {
            return folder.clone();
        }
        self.folder().join(&self.model)
    }

    /// Opens the reference's tensors, if the case has any in this dtype.
    #[allow(clippy::expect_used)]
    pub fn golden(&self, dtype: WeightDtype) -> Option<Golden> {
        let name = match dtype {
            WeightDtype::F32 => "golden.safetensors",
            WeightDtype::BF16 => "golden_bf16.safetensors",
            WeightDtype::F16 => "golden_f16.safetensors",
            _ => return None,
        };
        let path = self.folder().join(name);
        path.exists().then(|| Golden {
            bytes: std::fs::read(path).expect("the file was just seen"),
        })
    }

    /// Returns the case as a request.
    pub fn request(&self) -> GenerationRequest {
        let request = GenerationRequest::from_prompts(self.prompt.to_vec())
            .with_negative_prompts(self.negative_prompt.to_vec())
            .with_size(self.width, self.height)
            .with_num_inference_steps(self.steps)
            .with_guidance_scale(self.guidance_scale)
            .with_images_per_prompt(self.images_per_prompt);
        let request = match &self.seed {
            OneOrMany::One(seed) => request.with_seed(*seed),
            OneOrMany::Many(seeds) => request.with_seed_per_image(seeds.iter().copied()),
        };
        match &self.sigmas {
            Some(sigmas) => request.with_sigmas(sigmas.iter().copied()),
            None => request,
        }
    }

    /// Returns whether the reference ran a second pass for guidance.
    pub fn guided(&self) -> bool {
        self.guidance_scale > 1.0
    }
}

#[allow(clippy::expect_used)]
impl Golden {
    /// Opens any golden file.
    ///
    /// # Panics
    /// Panics if the file does not exist.
    pub fn open(path: &Path) -> Self {
        Self {
            bytes: std::fs::read(path).expect("goldens are committed"),
        }
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).expect("goldens are safetensors files")
    }

    /// Returns whether the file has a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors().tensor(name).is_ok()
    }

    /// Reads a float tensor as f32, whatever its stored dtype.
    ///
    /// # Panics
    /// Panics if the tensor is absent.
    pub fn floats(&self, name: &str) -> TensorData {
        let tensors = self.tensors();
        let view = tensors
            .tensor(name)
            .unwrap_or_else(|_| panic!("the golden has no `{name}`"));
        let bytes = view.data();
        let values: Vec<f32> = match view.dtype() {
            Dtype::F32 => bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            Dtype::BF16 => bytes
                .chunks_exact(2)
                .map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            Dtype::F16 => bytes
                .chunks_exact(2)
                .map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            other => panic!("`{name}` is {other:?}, not a float"),
        };
        TensorData::new(values, view.shape().to_vec())
    }

    /// Returns the values of a float tensor.
    pub fn values(&self, name: &str) -> Vec<f32> {
        self.floats(name).to_vec().expect("floats() gives f32")
    }

    /// Returns the values of an i64 tensor.
    pub fn ints(&self, name: &str) -> Vec<i64> {
        let tensors = self.tensors();
        let view = tensors
            .tensor(name)
            .unwrap_or_else(|_| panic!("the golden has no `{name}`"));
        view.data()
            .chunks_exact(8)
            .map(|b| i64::from_le_bytes(b.try_into().expect("chunks of 8")))
            .collect()
    }

    /// Returns the values of a u8 tensor.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        let tensors = self.tensors();
        let view = tensors
            .tensor(name)
            .unwrap_or_else(|_| panic!("the golden has no `{name}`"));
        view.data().to_vec()
    }
}
