//! Tests of the models through burn-store, Burn's crate for saving and loading modules, and of
//! folders of its burnpack files.

use std::fs;
use std::path::Path;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use burn_store::{
    ApplyResult, BurnpackStore, ModuleSnapshot, ModuleStore, SafetensorsStore, TensorSnapshot,
};
use ovis_image::checkpoint::ExportOptions;
use ovis_image::error::CheckpointError;
use ovis_image::tensor_file::TensorSource;
use ovis_image::transformer::{OvisImageTransformer, TransformerInput};
use ovis_image::{
    Checkpoint, CheckpointPaths, Layout, LoadOptions, OvisImageError, OvisImagePipeline,
    WeightDtype,
};

use crate::support::{base_model, load, request, values};

fn pipeline(dtype: WeightDtype) -> OvisImagePipeline<Flex> {
    let options = LoadOptions::new().with_dtype(dtype);
    OvisImagePipeline::from_pretrained(base_model(), options, &FlexDevice).unwrap()
}

/// Lists a model's parameters by path, with dtypes, shapes and bytes.
fn parameters(module: &impl ModuleSnapshot<Flex>) -> Vec<(String, DType, Vec<usize>, Vec<u8>)> {
    let snapshots = module.collect(None, None, false);
    let parameter = |snapshot: &TensorSnapshot| {
        let data = snapshot.to_data().unwrap();
        let shape = snapshot.shape.to_vec();
        (
            snapshot.full_path(),
            snapshot.dtype,
            shape,
            data.bytes.to_vec(),
        )
    };
    let mut parameters: Vec<_> = snapshots.iter().map(parameter).collect();
    parameters.sort_by(|a, b| a.0.cmp(&b.0));
    parameters
}

fn assert_complete(result: &ApplyResult) {
    assert!(result.missing.is_empty(), "{:?}", result.missing);
    assert!(result.unused.is_empty(), "{:?}", result.unused);
    assert!(result.errors.is_empty(), "{:?}", result.errors);
}

fn save_and_load<M: ModuleSnapshot<Flex>, S: ModuleStore>(
    model: &M,
    mut new: M,
    store: impl Fn() -> S,
) -> M
where
    S::Error: std::fmt::Debug,
{
    model.save_into(&mut store()).unwrap();
    assert_complete(&new.load_from(&mut store()).unwrap());
    new
}

/// Saves a model with both stores, and loads each file into a new model.
fn saved_and_loaded<M: ModuleSnapshot<Flex>>(model: &M, new: impl Fn() -> M) -> [M; 2] {
    let folder = tempfile::tempdir().unwrap();
    let safetensors = folder.path().join("model.safetensors");
    let burnpack = folder.path().join("model.bpk");
    [
        save_and_load(model, new(), || SafetensorsStore::from_file(&safetensors)),
        save_and_load(model, new(), || BurnpackStore::from_file(&burnpack)),
    ]
}

fn assert_comes_back<M: ModuleSnapshot<Flex>>(model: &M, new: impl Fn() -> M) {
    let expected = parameters(model);
    for loaded in saved_and_loaded(model, new) {
        assert!(parameters(&loaded) == expected);
    }
}

#[test]
fn each_model_comes_back_bit_by_bit() {
    let checkpoint = Checkpoint::open(base_model()).unwrap();
    for dtype in [WeightDtype::F32, WeightDtype::BF16] {
        let pipeline = pipeline(dtype);
        assert_comes_back(pipeline.transformer(), || {
            checkpoint.transformer_config().init(&FlexDevice)
        });
        assert_comes_back(pipeline.vae(), || checkpoint.vae_config().init(&FlexDevice));
        assert_comes_back(pipeline.text_encoder(), || {
            checkpoint.text_encoder_config().init(&FlexDevice)
        });
    }
}

/// Returns a tensor of distinct values.
fn waves<const D: usize>(shape: [usize; D], dtype: DType) -> Tensor<Flex, D> {
    let count: usize = shape.iter().product();
    let waves: Vec<f32> = (0..count).map(|i| (0.37 * i as f32).sin()).collect();
    Tensor::from_data(TensorData::new(waves, shape), (&FlexDevice, dtype))
}

/// Returns a transformer's prediction in a dtype.
fn prediction(transformer: &OvisImageTransformer<Flex>, dtype: DType) -> Vec<f32> {
    let checkpoint = Checkpoint::open(base_model()).unwrap();
    let config = checkpoint.transformer_config();
    let rope = transformer.rope(8, [2, 3], &FlexDevice);
    let input = TransformerInput {
        latents: waves([1, 6, config.in_channels], dtype),
        prompt_embeds: waves([1, 8, config.joint_attention_dim], dtype),
        rope: &rope,
    };
    values(transformer.forward(input, &[0.5]))
}

#[test]
fn a_loaded_transformer_predicts_the_same() {
    let checkpoint = Checkpoint::open(base_model()).unwrap();
    let new = || checkpoint.transformer_config().init(&FlexDevice);
    for dtype in [WeightDtype::F32, WeightDtype::BF16] {
        let saved = pipeline(dtype).transformer().clone();
        let expected = prediction(&saved, dtype.to_burn());
        for loaded in saved_and_loaded(&saved, new) {
            assert!(prediction(&loaded, dtype.to_burn()) == expected);
        }
    }
}

/// Converts the norms of a model to f32.
struct WideNorms {
    path: Vec<String>,
}

impl ModuleMapper<Flex> for WideNorms {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(
        &mut self,
        param: Param<Tensor<Flex, D>>,
    ) -> Param<Tensor<Flex, D>> {
        let is_norm = self.path.iter().any(|name| name.contains("norm"));
        if is_norm {
            param.map(|tensor| tensor.cast(DType::F32))
        } else {
            param
        }
    }
}

#[test]
fn dtypes_may_differ_from_parameter_to_parameter() {
    let checkpoint = Checkpoint::open(base_model()).unwrap();
    let new = || checkpoint.transformer_config().init(&FlexDevice);
    let narrow = pipeline(WeightDtype::BF16).transformer().clone();
    let mixed = narrow.map(&mut WideNorms { path: Vec::new() });
    let saved = parameters(&mixed);
    let count = |dtype| {
        saved
            .iter()
            .filter(|(_, other, ..)| *other == dtype)
            .count()
    };
    assert!(count(DType::F32) > 0 && count(DType::BF16) > 0);

    let expected = prediction(&mixed, DType::BF16);
    for loaded in saved_and_loaded(&mixed, new) {
        assert!(parameters(&loaded) == saved);
        assert!(prediction(&loaded, DType::BF16) == expected);
    }
}

/// Checks a case that must be detected from the result, because a store reports success.
#[test]
fn what_a_model_has_not_is_reported_as_unused() {
    let checkpoint = Checkpoint::open(base_model()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("transformer.bpk");
    let transformer = pipeline(WeightDtype::F32).transformer().clone();
    transformer
        .save_into(&mut BurnpackStore::from_file(&path))
        .unwrap();

    let mut config = checkpoint.transformer_config().clone();
    config.num_single_layers -= 1;
    let mut smaller: OvisImageTransformer<Flex> = config.init(&FlexDevice);
    let mut store = BurnpackStore::from_file(&path);
    let result = smaller.load_from(&mut store).unwrap();
    assert!(result.is_success());
    assert!(result.unused.contains(&format!(
        "single_blocks.{}.output.weight",
        config.num_single_layers
    )));
}

/// Writes the `base` model as burnpack files.
fn exported(folder: &Path, options: ExportOptions) {
    let checkpoint = Checkpoint::open(base_model()).unwrap();
    let report = checkpoint.export(folder, &options).unwrap();
    assert_eq!(report.notes, [""; 0]);
}

#[test]
fn an_exported_folder_is_what_burn_store_reads() {
    let folder = tempfile::tempdir().unwrap();
    exported(folder.path(), ExportOptions::new(Layout::Burnpack));
    // The dtype of the files.
    let pipeline = pipeline(WeightDtype::BF16);
    // Its configurations alone are enough to construct the models.
    let text = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let store = |name: &str| BurnpackStore::from_file(folder.path().join(name));

    let config = text("transformer_config.json");
    let config: ovis_image::config::TransformerConfig = serde_json::from_str(&config).unwrap();
    let mut transformer = config.init::<Flex>(&FlexDevice);
    let result = transformer.load_from(&mut store("transformer.bpk"));
    assert_complete(&result.unwrap());
    assert!(parameters(&transformer) == parameters(pipeline.transformer()));

    let config = text("vae_config.json");
    let config: ovis_image::config::VaeConfig = serde_json::from_str(&config).unwrap();
    let mut vae = config.init::<Flex>(&FlexDevice);
    assert_complete(&vae.load_from(&mut store("vae.bpk")).unwrap());
    assert!(parameters(&vae) == parameters(pipeline.vae()));

    let config = text("text_encoder_config.json");
    let config: ovis_image::config::TextEncoderConfig = serde_json::from_str(&config).unwrap();
    let mut text_encoder = config.init::<Flex>(&FlexDevice);
    let result = text_encoder.load_from(&mut store("text_encoder.bpk"));
    assert_complete(&result.unwrap());
    assert!(parameters(&text_encoder) == parameters(pipeline.text_encoder()));
}

#[test]
fn an_exported_folder_is_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    exported(folder.path(), ExportOptions::new(Layout::Burnpack));
    assert_eq!(Layout::of(folder.path()).unwrap(), Layout::Burnpack);
    let (ours, theirs) = (
        Checkpoint::open(folder.path()).unwrap(),
        Checkpoint::open(base_model()).unwrap(),
    );
    assert_eq!(ours.transformer_config(), theirs.transformer_config());
    assert_eq!(ours.vae_config(), theirs.vae_config());
    assert_eq!(ours.text_encoder_config(), theirs.text_encoder_config());
    assert_eq!(ours.scheduler_config(), theirs.scheduler_config());
    assert!(ours.problems().is_empty());

    let latents = |folder| {
        let output = load(folder).unwrap().generate(&request()).unwrap();
        values(output.latents)
    };
    let expected = latents(base_model());
    assert_eq!(latents(folder.path().to_owned()), expected);

    // Convert back.
    let back = folder.path().join("diffusers");
    ours.export(&back, &ExportOptions::new(Layout::Diffusers))
        .unwrap();
    assert_eq!(latents(back), expected);
}

#[test]
fn an_export_keeps_dtypes_unless_one_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let stored = |name: &str| {
        let path = folder.path().join(name).join("transformer.bpk");
        let source = TensorSource::open(&path).unwrap();
        let encoding = source.encoding("image_embedder.weight").unwrap();
        encoding.to_string()
    };
    let options = ExportOptions::new(Layout::Burnpack);
    exported(&folder.path().join("same"), options);
    exported(
        &folder.path().join("f32"),
        options.with_dtype(WeightDtype::F32),
    );
    assert_eq!(
        (stored("same"), stored("f32")),
        ("BF16".into(), "F32".into())
    );
}

#[test]
fn files_that_burn_store_wrote_are_parts_of_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = pipeline(WeightDtype::F32);
    let transformer = folder.path().join("mine.bpk");
    let vae = folder.path().join("vae.safetensors");
    let text_encoder = folder.path().join("text.safetensors");
    let (model, mut store) = (
        pipeline.transformer(),
        BurnpackStore::from_file(&transformer),
    );
    model.save_into(&mut store).unwrap();
    let (model, mut store) = (pipeline.vae(), SafetensorsStore::from_file(&vae));
    model.save_into(&mut store).unwrap();
    let (model, mut store) = (
        pipeline.text_encoder(),
        SafetensorsStore::from_file(&text_encoder),
    );
    model.save_into(&mut store).unwrap();
    // The stores write no configurations, and not all sizes can be inferred from tensors.
    for (part, name) in [
        ("transformer", "mine_config.json"),
        ("vae", "vae_config.json"),
        ("text_encoder", "text_config.json"),
    ] {
        let config = base_model().join(part).join("config.json");
        fs::copy(config, folder.path().join(name)).unwrap();
    }

    let paths = CheckpointPaths {
        transformer,
        vae,
        text_encoder,
        ..CheckpointPaths::discover(base_model()).unwrap()
    };
    let options = LoadOptions::new();
    let loaded = OvisImagePipeline::<Flex>::from_paths(&paths, options, &FlexDevice).unwrap();
    assert_eq!(
        values(loaded.generate(&request()).unwrap().latents),
        values(pipeline.generate(&request()).unwrap().latents)
    );
}

#[test]
fn a_truncated_burnpack_file_names_its_tensor() {
    let folder = tempfile::tempdir().unwrap();
    exported(folder.path(), ExportOptions::new(Layout::Burnpack));
    let path = folder.path().join("vae.bpk");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let error = Checkpoint::open(folder.path()).unwrap_err();
    let OvisImageError::Checkpoint(CheckpointError::InvalidFile {
        path: named,
        format: "burnpack",
        ..
    }) = &error
    else {
        panic!("{error}");
    };
    assert_eq!(*named, path);
    assert!(error.to_string().contains("tensor `"), "{error}");
}
