//! Tests that a LoRA changes images as it does in diffusers with PEFT.

use burn_flex::FlexDevice;
use half::bf16;
use ovis_image::pipeline::MergeReport;
use ovis_image::{
    CheckpointPaths, LoadOptions, LoraFile, OvisImagePipeline, Quantization, Residency, WeightDtype,
};
use ovis_image_tests::compare::relative_error;
use ovis_image_tests::tolerance::tolerance;

use super::{is_the_reference, latents, load_with, lora};
use crate::support::{base_model, pipeline, request, write_tensors};

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
