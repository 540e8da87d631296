//! Tests of LoRAs, against diffusers with PEFT on the same weights, and of the errors for invalid
//! files.

use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn_flex::{Flex, FlexDevice};
use half::bf16;
use ovis_image::config::TransformerConfig;
use ovis_image::error::{CheckpointError, LoraError, RequestError};
use ovis_image::lora::attach_lora;
use ovis_image::pipeline::MergeReport;
use ovis_image::{
    CheckpointPaths, LoadOptions, LoraFile, OvisImageError, OvisImagePipeline, Quantization,
    Residency, WeightDtype,
};
use ovis_image_tests::compare::relative_error;
use ovis_image_tests::error_chain::chain;
use ovis_image_tests::golden::{Case, Golden, golden_folder};
use ovis_image_tests::tolerance::tolerance;

use crate::support::{base_model, pipeline, request, values, write_tensors};

fn lora(name: &str) -> LoraFile {
    LoraFile::open(golden_folder().join("lora").join(name)).unwrap()
}

fn load_with(options: LoadOptions) -> OvisImagePipeline<Flex> {
    OvisImagePipeline::from_pretrained(base_model(), options, &FlexDevice).unwrap()
}

fn latents(pipeline: &OvisImagePipeline<Flex>) -> Vec<f32> {
    values(pipeline.generate(&request()).unwrap().latents)
}

#[track_caller]
fn is_the_reference(pipeline: &OvisImagePipeline<Flex>, name: &str) {
    let golden = Golden::open(&golden_folder().join("lora/golden.safetensors"));
    let allowed = tolerance("flex", WeightDtype::F32).result;
    let output = pipeline.generate(&Case::read("base").request()).unwrap();
    for (stage, actual) in [
        ("latents_out", values(output.latents)),
        ("image", values(output.image_tensor)),
    ] {
        let error = relative_error(&actual, &golden.values(&format!("{name}.{stage}")));
        assert!(error <= allowed, "{name}: {stage} is off by {error:.1e}");
    }
}

#[test]
fn images_are_those_of_peft_whatever_the_scale() {
    let mut pipeline = pipeline();
    let report = pipeline.load_lora("all", &lora("all"), 1.0).unwrap();
    assert_eq!((report.applied, report.modules), (46, 46));
    is_the_reference(&pipeline, "all");
    pipeline.set_lora_scale("all", 0.5).unwrap();
    is_the_reference(&pipeline, "all_half");
}

#[test]
fn several_loras_add_up_with_their_ranks_alphas_and_scales() {
    let mut pipeline = pipeline();
    pipeline.load_lora("all", &lora("all"), 0.5).unwrap();
    let report = pipeline.load_lora("attention", &lora("attention"), -0.75);
    assert_eq!(report.unwrap().applied, 22);
    is_the_reference(&pipeline, "both");
    let settings = pipeline.generate(&request()).unwrap().settings;
    let named: Vec<(&str, f32)> = settings
        .loras
        .iter()
        .map(|lora| (lora.name.as_str(), lora.scale))
        .collect();
    assert_eq!(named, [("all", 0.5), ("attention", -0.75)]);
}

#[test]
fn a_lora_of_the_modulation_alone_is_pefts() {
    let mut pipeline = pipeline();
    let report = pipeline.load_lora("modulation", &lora("modulation"), 1.0);
    assert_eq!(report.unwrap().to_string(), "applied 7 of 7 modules");
    is_the_reference(&pipeline, "modulation");
    pipeline.merge_loras().unwrap();
    is_the_reference(&pipeline, "modulation");

    let in_files = LoadOptions::new().with_modulation_residency(Residency::File);
    let mut pipeline = load_with(in_files);
    pipeline
        .load_lora("modulation", &lora("modulation"), 1.0)
        .unwrap();
    is_the_reference(&pipeline, "modulation");
    let MergeReport { merged, beside, .. } = pipeline.merge_loras().unwrap();
    assert_eq!((merged, beside), (0, 7));
    is_the_reference(&pipeline, "modulation");
}

#[test]
fn a_lora_on_each_modulation_does_what_its_product_in_the_weights_does() {
    let file = base_model().join("transformer/diffusion_pytorch_model.safetensors");
    let bytes = std::fs::read(file).unwrap();
    let weights = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let read = |name: &str| -> Vec<f32> {
        let weight = weights.tensor(name).unwrap();
        let (pairs, _) = weight.data().as_chunks::<2>();
        let values = pairs.iter().map(|pair| bf16::from_le_bytes(*pair).to_f32());
        values.collect()
    };
    let without = latents(&pipeline());
    for module in [
        "transformer_blocks.0.norm1.linear",
        "transformer_blocks.1.norm1_context.linear",
        "single_transformer_blocks.1.norm.linear",
        "norm_out.linear",
    ] {
        let changed = format!("{module}.weight");
        let shape = weights.tensor(&changed).unwrap().shape().to_vec();
        let [out, input] = shape[..] else {
            panic!("{shape:?}")
        };
        let wave = |count: usize| (0..count).map(|i| 0.3 * (i as f32).sin()).collect();
        let (down, up): (Vec<f32>, Vec<f32>) = (wave(input), wave(out));

        let folder = tempfile::tempdir().unwrap();
        let transformer = folder.path().join("transformer");
        std::fs::create_dir(&transformer).unwrap();
        std::fs::copy(
            base_model().join("transformer/config.json"),
            transformer.join("config.json"),
        )
        .unwrap();
        let tensors = weights.tensors().into_iter().map(|(name, tensor)| {
            let mut values = read(&name);
            if name == changed {
                for (index, value) in values.iter_mut().enumerate() {
                    *value += up[index / input] * down[index % input];
                }
            }
            (name, tensor.shape().to_vec(), values)
        });
        let merged = transformer.join("diffusion_pytorch_model.safetensors");
        write_tensors(&merged, tensors);
        let mut paths = CheckpointPaths::discover(base_model()).unwrap();
        paths.transformer = transformer;
        let merged = OvisImagePipeline::from_paths(&paths, LoadOptions::new(), &FlexDevice);
        let expected = latents(&merged.unwrap());
        assert!(relative_error(&without, &expected) > 1e-3, "{module}");

        let path = folder.path().join("lora.safetensors");
        let matrices = [
            (format!("{module}.lora_A.weight"), vec![1, input], down),
            (format!("{module}.lora_B.weight"), vec![out, 1], up),
        ];
        write_tensors(&path, matrices);
        for residency in [Residency::Device, Residency::File] {
            let mut beside = load_with(LoadOptions::new().with_modulation_residency(residency));
            let file = LoraFile::open(&path).unwrap();
            beside.load_lora("modulation", &file, 1.0).unwrap();
            let error = relative_error(&latents(&beside), &expected);
            assert!(error <= 1e-5, "{module}, {residency:?}: {error:.1e}");
        }
    }
}

#[test]
fn pefts_configuration_is_found_beside_its_file_too() {
    let (mut folder, mut file) = (pipeline(), pipeline());
    folder.load_lora("a", &lora("attention"), 1.0).unwrap();
    file.load_lora("a", &lora("attention/adapter_model.safetensors"), 1.0)
        .unwrap();
    assert_eq!(latents(&folder), latents(&file));
}

#[test]
fn kohyas_names_mean_the_same() {
    let (mut peft, mut kohya) = (pipeline(), pipeline());
    peft.load_lora("all", &lora("all"), 1.0).unwrap();
    kohya
        .load_lora("all", &lora("kohya.safetensors"), 1.0)
        .unwrap();
    assert_eq!(latents(&kohya), latents(&peft));
}

#[test]
fn a_lora_of_fused_modules_fits_a_checkpoint_of_split_ones() {
    let mut pipeline = pipeline();
    let report = pipeline.load_lora("fused", &lora("fused.safetensors"), 1.0);
    assert_eq!(report.unwrap().applied, 36);
    is_the_reference(&pipeline, "fused");
    pipeline.merge_loras().unwrap();
    is_the_reference(&pipeline, "fused");
}

#[test]
fn the_merged_weight_of_every_module_is_that_of_peft() {
    let mut paths = CheckpointPaths::discover(base_model()).unwrap();
    paths.transformer = golden_folder().join("lora/merged");
    let peft = OvisImagePipeline::<Flex>::from_paths(&paths, LoadOptions::new(), &FlexDevice);
    let mut peft = peft.unwrap().transformer().clone();

    let mut ours = pipeline();
    ours.load_lora("all", &lora("all"), 0.5).unwrap();
    let report = ours.merge_loras().unwrap();
    assert_eq!((report.merged, report.beside), (36, 0));
    let mut ours = ours.transformer().clone();
    for ((path, ours), (_, peft)) in ours
        .linear_layers_mut()
        .into_iter()
        .zip(peft.linear_layers_mut())
    {
        let error = relative_error(&values(ours.weight.val()), &values(peft.weight.val()));
        // Sums of four products and one addition in another order.
        assert!(error <= 2e-7, "{path} is off by {error:.1e}");
    }
}

#[test]
fn merging_changes_no_image_and_unmerging_no_bit() {
    for options in [
        LoadOptions::new(),
        LoadOptions::new().with_in_place(false),
        LoadOptions::new().with_dtype(WeightDtype::BF16),
    ] {
        let mut pipeline = load_with(options);
        let without = latents(&pipeline);
        pipeline.load_lora("all", &lora("all"), 0.5).unwrap();
        let beside = latents(&pipeline);
        assert_ne!(beside, without);

        pipeline.merge_loras().unwrap();
        let dtype = pipeline.generate(&request()).unwrap().settings.dtype;
        let error = relative_error(&latents(&pipeline), &beside);
        let allowed = tolerance("flex", dtype).result;
        assert!(error <= allowed, "{dtype}: {error:.1e}");

        pipeline.unmerge_loras().unwrap();
        assert_eq!(latents(&pipeline), beside);
        pipeline.unload_lora("all").unwrap();
        assert_eq!(latents(&pipeline), without);
    }
}

#[test]
fn merged_loras_can_still_be_scaled_and_unloaded() {
    let mut pipeline = pipeline();
    let without = latents(&pipeline);
    pipeline.load_lora("all", &lora("all"), 1.0).unwrap();
    pipeline.merge_loras().unwrap();
    pipeline.set_lora_scale("all", 0.5).unwrap();
    is_the_reference(&pipeline, "all_half");
    pipeline
        .load_lora("attention", &lora("attention"), -0.75)
        .unwrap();
    is_the_reference(&pipeline, "both");
    pipeline.unload_lora("all").unwrap();
    pipeline.unload_lora("attention").unwrap();
    assert_eq!(latents(&pipeline), without);
}

#[test]
fn originals_of_a_transformer_of_ones_own_are_kept_in_memory() {
    let checkpoint = pipeline();
    let mut pipeline = checkpoint
        .clone()
        .with_transformer(checkpoint.transformer().clone())
        .unwrap();
    pipeline.load_lora("all", &lora("all"), 1.0).unwrap();
    let beside = latents(&pipeline);
    pipeline.merge_loras().unwrap();
    pipeline.unmerge_loras().unwrap();
    assert_eq!(latents(&pipeline), beside);
}

#[test]
fn a_lora_of_scale_zero_is_off() {
    let mut pipeline = pipeline();
    let without = latents(&pipeline);
    pipeline.load_lora("all", &lora("all"), 0.0).unwrap();
    assert_eq!(latents(&pipeline), without);
}

#[test]
fn clones_have_their_own_loras() {
    let mut with = pipeline();
    let without = with.clone();
    with.load_lora("all", &lora("all"), 1.0).unwrap();
    assert_eq!(latents(&without), latents(&pipeline()));
    assert_eq!(without.loras(), []);
}

#[test]
fn loras_act_beside_weights_that_are_streamed_or_quantized() {
    let mut resident = pipeline();
    resident.load_lora("all", &lora("all"), 0.5).unwrap();
    let expected = latents(&resident);

    let options = LoadOptions::new()
        .with_streamed_blocks(4)
        .with_modulation_residency(Residency::File);
    let mut streamed = load_with(options);
    streamed.load_lora("all", &lora("all"), 0.5).unwrap();
    assert_eq!(latents(&streamed), expected);
    let MergeReport { merged, beside, .. } = streamed.merge_loras().unwrap();
    // The embedders, and the final layer's output: its modulation is in the file, too.
    assert_eq!((merged, beside), (5, 31));
    let error = relative_error(&latents(&streamed), &expected);
    assert!(error <= tolerance("flex", WeightDtype::F32).result);

    let options = LoadOptions::new().with_quantization(Quantization::Q8_0);
    let mut quantized = load_with(options);
    let rounding = relative_error(&latents(&quantized), &latents(&pipeline()));
    quantized.load_lora("all", &lora("all"), 0.5).unwrap();
    let error = relative_error(&latents(&quantized), &expected);
    assert!(error < 3.0 * rounding, "{error:.1e} after {rounding:.1e}");
}

#[test]
fn all_252_modules_of_the_release_are_found() {
    let config: TransformerConfig = serde_json::from_value(serde_json::json!({
        "patch_size": 1, "in_channels": 64, "num_layers": 6, "num_single_layers": 27,
        "attention_head_dim": 128, "num_attention_heads": 24, "joint_attention_dim": 2048,
        "axes_dims_rope": [16, 56, 56],
    }))
    .unwrap();
    const H: usize = 3072;
    let mut tensors = Vec::new();
    let mut add = |module: String, out: usize, input: usize| {
        let module = format!("transformer.{module}");
        tensors.push((format!("{module}.lora_A.weight"), vec![1, input]));
        tensors.push((format!("{module}.lora_B.weight"), vec![out, 1]));
    };
    for (name, out, input) in [
        ("x_embedder", H, 64),
        ("context_embedder", H, 2048),
        ("timestep_embedder.linear_1", H, 256),
        ("timestep_embedder.linear_2", H, H),
        ("norm_out.linear", 2 * H, H),
        ("proj_out", 64, H),
    ] {
        add(name.to_owned(), out, input);
    }
    for block in 0..6 {
        let block = format!("transformer_blocks.{block}");
        for name in ["norm1.linear", "norm1_context.linear"] {
            add(format!("{block}.{name}"), 6 * H, H);
        }
        for name in [
            "to_q",
            "to_k",
            "to_v",
            "to_out.0",
            "add_q_proj",
            "add_k_proj",
            "add_v_proj",
            "to_add_out",
        ] {
            add(format!("{block}.attn.{name}"), H, H);
        }
        for stream in ["ff", "ff_context"] {
            add(format!("{block}.{stream}.net.0.proj"), 8 * H, H);
            add(format!("{block}.{stream}.net.2"), H, 4 * H);
        }
    }
    for block in 0..27 {
        let block = format!("single_transformer_blocks.{block}");
        add(format!("{block}.norm.linear"), 3 * H, H);
        for name in ["to_q", "to_k", "to_v"] {
            add(format!("{block}.attn.{name}"), H, H);
        }
        add(format!("{block}.proj_mlp"), 8 * H, H);
        add(format!("{block}.proj_out"), H, 5 * H);
    }
    // 14 modules of each double block, 6 of each single block, and 6 outside of them, which is the
    // number that PEFT finds with `target_modules="all-linear"`.
    assert_eq!(tensors.len(), 2 * (6 * 14 + 27 * 6 + 6));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("release.safetensors");
    let ones = tensors.into_iter().map(|(name, shape)| {
        let count = shape.iter().product();
        (name, shape, vec![1.0; count])
    });
    write_tensors(&path, ones);
    let mut transformer = config.init::<Flex>(&FlexDevice);
    let file = LoraFile::open(&path).unwrap();
    let report = attach_lora(
        &mut transformer,
        &file,
        "x",
        1.0,
        WeightDtype::BF16,
        &FlexDevice,
    )
    .unwrap();
    assert_eq!(report.to_string(), "applied 252 of 252 modules");
    assert!(report.unmatched.is_empty());
    // Fused rows: query, key and value, then the MLP.
    let rows: Vec<_> = transformer.single_blocks[26]
        .qkv_mlp
        .adapters
        .iter()
        .map(|adapter| adapter.rows())
        .collect();
    assert_eq!(rows, [0..H, H..2 * H, 2 * H..3 * H, 3 * H..11 * H]);
    // No weight was created for it.
    assert!(
        !transformer.single_blocks[26]
            .qkv_mlp
            .weight
            .is_initialized()
    );
}

#[test]
fn every_matrix_of_the_transformer_can_have_an_adapter() {
    #[derive(Default)]
    struct Matrices(Vec<String>, Vec<String>);
    impl ModuleVisitor<Flex> for Matrices {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.0.push(name.to_owned());
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.pop();
        }
        fn visit_float<const D: usize>(&mut self, _: &Param<Tensor<Flex, D>>) {
            if D == 2 {
                self.1.push(self.0[..self.0.len() - 1].join("."));
            }
        }
    }
    let mut transformer = pipeline().transformer().clone();
    let mut matrices = Matrices::default();
    transformer.visit(&mut matrices);
    let mut layers: Vec<String> = transformer
        .linear_layers_mut()
        .into_iter()
        .map(|(path, _)| path)
        .collect();
    layers.sort();
    matrices.1.sort();
    assert_eq!(layers, matrices.1);
}

const Q: &str = "transformer_blocks.0.attn.to_q";

/// Writes a file of tensors of given shapes, each filled with one value.
fn file_of(tensors: &[(&str, &[usize], f32)]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    let tensors = tensors.iter().map(|(name, shape, value)| {
        let count = shape.iter().product();
        ((*name).to_owned(), shape.to_vec(), vec![*value; count])
    });
    write_tensors(&path, tensors);
    (folder, path)
}

fn error_of(tensors: &[(&str, &[usize], f32)]) -> OvisImageError {
    let (_folder, path) = file_of(tensors);
    let before = latents(&pipeline());
    let mut pipeline = pipeline();
    let error = LoraFile::open(&path)
        .and_then(|file| pipeline.load_lora("x", &file, 1.0))
        .unwrap_err();
    assert_eq!(pipeline.loras(), []);
    assert_eq!(latents(&pipeline), before, "nothing is attached");
    assert!(error.to_string().contains("lora.safetensors"), "{error}");
    error
}

fn down() -> String {
    format!("transformer.{Q}.lora_A.weight")
}

fn up() -> String {
    format!("transformer.{Q}.lora_B.weight")
}

#[test]
fn modules_that_the_model_lacks_are_reported() {
    let (_folder, path) = file_of(&[
        (&down(), &[1, 32], 0.1),
        (&up(), &[32, 1], 0.1),
        ("text_encoder.layers.0.lora_A.weight", &[1, 32], 0.1),
        ("text_encoder.layers.0.lora_B.weight", &[32, 1], 0.1),
    ]);
    let mut pipeline = pipeline();
    let file = LoraFile::open(&path).unwrap();
    let report = pipeline.load_lora("x", &file, 1.0).unwrap();
    assert_eq!((report.applied, report.modules), (1, 2));
    assert_eq!(report.unmatched, ["text_encoder.layers.0"]);
    assert_eq!(
        report.to_string(),
        "applied 1 of 2 modules; not in this model: text_encoder.layers.0"
    );
}

#[test]
fn a_lora_of_which_nothing_applies_is_an_error() {
    let error = error_of(&[
        ("unet.down.lora_A.weight", &[1, 32], 0.1),
        ("unet.down.lora_B.weight", &[32, 1], 0.1),
    ]);
    assert!(
        matches!(&error, OvisImageError::Lora(LoraError::NotApplied { modules: 1, example, .. }) if example == "down"),
        "{error}"
    );
}

#[test]
fn a_lora_of_a_wider_model_is_an_error() {
    for (tensors, name, expected) in [
        ([(down(), [1, 64]), (up(), [32, 1])], down(), [1, 32]),
        ([(down(), [1, 32]), (up(), [96, 1])], up(), [32, 1]),
    ] {
        let tensors: Vec<(&str, &[usize], f32)> = tensors
            .iter()
            .map(|(name, shape)| (name.as_str(), &shape[..], 0.1))
            .collect();
        match error_of(&tensors) {
            OvisImageError::Lora(LoraError::Shape {
                tensor,
                expected: needed,
                ..
            }) => {
                assert_eq!(tensor, name);
                assert_eq!(needed, expected);
            }
            error => panic!("{error}"),
        }
    }
}

#[test]
fn other_methods_are_refused_by_name() {
    for (tensor, method) in [
        ("lycoris_single_blocks_0_linear1.lokr_w1", "LoKr"),
        ("transformer.proj_out.dora_scale", "DoRA"),
    ] {
        let error = error_of(&[(tensor, &[2, 2], 0.1)]);
        assert!(
            matches!(&error, OvisImageError::Lora(LoraError::UnsupportedAdapter { method: named, .. }) if *named == method),
            "{error}"
        );
        assert!(error.to_string().contains(tensor), "{error}");
    }
}

#[test]
fn files_that_are_no_lora_are_refused_naming_the_tensor() {
    let (down, up) = (down(), up());
    let alpha = format!("transformer.{Q}.alpha");
    let kohya = "lora_unet_proj_out.lora_down.weight";
    for (tensors, named) in [
        (
            vec![("proj_out.weight", &[2usize, 2][..], 0.1)],
            "proj_out.weight",
        ),
        (vec![(down.as_str(), &[1, 32][..], 0.1)], down.as_str()),
        (vec![(kohya, &[1, 32][..], 0.1)], kohya),
        (vec![(alpha.as_str(), &[][..], 1.0)], alpha.as_str()),
        (
            vec![(&down, &[2, 32][..], 0.1), (&up, &[32, 1][..], 0.1)],
            &down,
        ),
        (
            vec![(&down, &[32][..], 0.1), (&up, &[32, 1][..], 0.1)],
            &down,
        ),
        (
            vec![(&down, &[0, 32][..], 0.1), (&up, &[32, 0][..], 0.1)],
            &down,
        ),
        (
            vec![(&down, &[1, 32][..], f32::NAN), (&up, &[32, 1][..], 0.1)],
            &down,
        ),
        (
            vec![
                (&down, &[1, 32][..], 0.1),
                (&up, &[32, 1][..], f32::INFINITY),
            ],
            &up,
        ),
        (
            vec![
                (&down, &[1, 32][..], 0.1),
                (&up, &[32, 1][..], 0.1),
                (&alpha, &[2][..], 1.0),
            ],
            &alpha,
        ),
    ] {
        let error = error_of(&tensors);
        assert!(
            matches!(
                error,
                OvisImageError::Checkpoint(CheckpointError::InvalidFile { format: "LoRA", .. })
            ),
            "{error}"
        );
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[test]
fn one_matrix_under_two_names_is_refused() {
    let other = format!("{Q}.lora_down.weight");
    let error = error_of(&[
        (&down(), &[1, 32], 0.1),
        (&other, &[1, 32], 0.1),
        (&up(), &[32, 1], 0.1),
    ]);
    assert!(error.to_string().contains("the same matrix"), "{error}");
}

#[test]
fn a_broken_configuration_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden_folder().join("lora/attention/adapter_model.safetensors");
    std::fs::copy(golden, folder.path().join("adapter_model.safetensors")).unwrap();
    for (json, reason) in [
        ("{", "configuration"),
        (r#"{"r": 4}"#, "lora_alpha"),
        (r#"{"lora_alpha": 4, "alpha_pattern": {".*q": 2}}"#, ".*q"),
        (r#"{"lora_alpha": 4, "use_dora": true}"#, "DoRA"),
    ] {
        std::fs::write(folder.path().join("adapter_config.json"), json).unwrap();
        let error = LoraFile::open(folder.path()).unwrap_err();
        let text = chain(&error);
        assert!(text.contains(reason), "{text}");
    }
}

#[test]
fn names_and_scales_are_checked() {
    let mut pipeline = pipeline();
    let is_refused = |result: Result<(), OvisImageError>, reason: &str| {
        let error = result.unwrap_err();
        assert!(matches!(
            error,
            OvisImageError::Request(RequestError::InvalidArgument { .. })
        ));
        assert!(error.to_string().contains(reason), "{error}");
    };
    let file = lora("all");
    pipeline.load_lora("all", &file, 1.0).unwrap();
    is_refused(pipeline.load_lora("all", &file, 1.0).map(drop), "already");
    is_refused(pipeline.load_lora("b", &file, f32::NAN).map(drop), "NaN");
    is_refused(pipeline.set_lora_scale("all", f32::INFINITY), "inf");
    is_refused(pipeline.set_lora_scale("b", 1.0), "`b`");
    is_refused(pipeline.unload_lora("b"), "`b`");
    assert!(LoraFile::open(Path::new("/nowhere.safetensors")).is_err());
}
