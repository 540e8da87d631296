//! Tests of GGUF files, against the `gguf` Python package, and of the errors for damaged ones.

use std::fs;
use std::path::{Path, PathBuf};

use burn_flex::{Flex, FlexDevice};
use ovis_image::error::CheckpointError;
use ovis_image::tensor_file::{Encoding, TensorSource};
use ovis_image::{
    CheckpointPaths, LoadOptions, OvisImageError, OvisImagePipeline, Quantization, WeightDtype,
};
use ovis_image_tests::compare::relative_error;
use ovis_image_tests::golden::{Case, Golden, golden_folder};
use ovis_image_tests::tolerance::tolerance;

use crate::support::{base_model, pipeline, request, values};

const Q8_0: &str = "q8_0/transformer/ovis_image-Q8_0.gguf";

fn gguf(name: &str) -> PathBuf {
    golden_folder().join("gguf").join(name)
}

/// Loads the `base` model with another transformer.
fn with_transformer(transformer: &Path) -> Result<OvisImagePipeline<Flex>, OvisImageError> {
    let mut paths = CheckpointPaths::discover(base_model()).unwrap();
    paths.transformer = transformer.to_owned();
    OvisImagePipeline::from_paths(&paths, LoadOptions::new(), &FlexDevice)
}

/// Creates a folder with a transformer's configuration and its damaged GGUF file.
fn damaged(damage: impl FnOnce(&mut Vec<u8>)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let original = gguf(Q8_0);
    let mut bytes = fs::read(&original).unwrap();
    damage(&mut bytes);
    fs::write(folder.path().join("damaged.gguf"), bytes).unwrap();
    let config = original.with_file_name("config.json");
    fs::copy(config, folder.path().join("config.json")).unwrap();
    folder
}

#[track_caller]
fn is_refused(damage: impl FnOnce(&mut Vec<u8>), reason: &str) {
    let folder = damaged(damage);
    let error = with_transformer(folder.path()).unwrap_err();
    match &error {
        OvisImageError::Checkpoint(CheckpointError::InvalidFile {
            path,
            format: "GGUF",
            reason: text,
            ..
        }) => {
            assert!(path.ends_with("damaged.gguf"), "{error}");
            assert!(text.contains(reason), "{error}");
        }
        _ => panic!("{error}"),
    }
}

fn place_of(bytes: &[u8], needle: &[u8]) -> usize {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
        .unwrap()
}

#[test]
fn every_type_is_read_as_the_python_package_reads_it() {
    let source = TensorSource::open(&gguf("types.gguf")).unwrap();
    let golden = Golden::open(&gguf("types.safetensors"));
    for (name, encoding) in [
        ("f32", Encoding::F32),
        ("f16", Encoding::F16),
        ("bf16", Encoding::BF16),
        ("q4_0", Encoding::Q4_0),
        ("q4_1", Encoding::Q4_1),
        ("q5_0", Encoding::Q5_0),
        ("q5_1", Encoding::Q5_1),
        ("q8_0", Encoding::Q8_0),
        ("q4_k", Encoding::Q4K),
        ("q5_k", Encoding::Q5K),
        ("q6_k", Encoding::Q6K),
    ] {
        let tensor = format!("{name}.weight");
        assert_eq!(source.encoding(&tensor), Some(&encoding));
        assert_eq!(source.shape(&tensor), Some(&[3, 512][..]));
        let read = source.read(&tensor, WeightDtype::F32).unwrap();
        assert_eq!(
            read.as_slice::<f32>().unwrap(),
            golden.values(&tensor),
            "{name}"
        );
    }
    assert_eq!(source.names().count(), 11);
}

#[test]
fn a_quantized_transformer_makes_the_image_of_its_dequantized_weights() {
    let case = Case::read("base");
    let allowed = tolerance("flex", WeightDtype::F32).result;
    for name in ["q8_0", "q4_0"] {
        let pipeline = with_transformer(&gguf(name).join("transformer")).unwrap();
        let output = pipeline.generate(&case.request()).unwrap();
        let golden = Golden::open(&gguf(name).join("golden.safetensors"));
        for (stage, actual) in [
            ("latents_out", values(output.latents)),
            ("image", values(output.image_tensor)),
        ] {
            let error = relative_error(&actual, &golden.values(stage));
            assert!(error <= allowed, "{name}: {stage} is off by {error:.1e}");
        }
    }
}

#[test]
fn our_rounding_is_that_of_the_python_package() {
    for (name, quantization) in [("q8_0", Quantization::Q8_0), ("q4_0", Quantization::Q4_0)] {
        let options = LoadOptions::new().with_quantization(quantization);
        let ours =
            OvisImagePipeline::<Flex>::from_pretrained(base_model(), options, &FlexDevice).unwrap();
        let theirs = with_transformer(&gguf(name).join("transformer")).unwrap();
        let (ours, theirs) = (ours.transformer().clone(), theirs.transformer().clone());
        for (ours, theirs) in ours.single_blocks.iter().zip(&theirs.single_blocks) {
            let (a, b) = (&ours.qkv_mlp.weight, &theirs.qkv_mlp.weight);
            assert_eq!(values(a.val()), values(b.val()), "{name}");
        }
        let (a, b) = (&ours.double_blocks[1], &theirs.double_blocks[1]);
        let (a, b) = (
            &a.text_feed_forward.down.weight,
            &b.text_feed_forward.down.weight,
        );
        assert_eq!(values(a.val()), values(b.val()), "{name}");
    }
}

#[test]
fn quantized_weights_stay_in_the_file_unless_asked_otherwise() {
    let transformer = gguf("q8_0").join("transformer");
    let kept = with_transformer(&transformer).unwrap();
    assert_eq!(kept.transformer().streamed_blocks(), 4);
    let first = kept.generate(&request()).unwrap();
    let weight = &kept.transformer().single_blocks[0].qkv_mlp.weight;
    assert!(!weight.is_initialized());

    let mut paths = CheckpointPaths::discover(base_model()).unwrap();
    paths.transformer = transformer;
    let options = LoadOptions::new().with_dequantize_on_load(true);
    let expanded = OvisImagePipeline::<Flex>::from_paths(&paths, options, &FlexDevice).unwrap();
    assert_eq!(expanded.transformer().streamed_blocks(), 0);
    let second = expanded.generate(&request()).unwrap();
    assert_eq!(values(first.latents), values(second.latents));
}

#[test]
fn a_gguf_file_is_known_by_its_content_not_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let named = folder.path().join("model.safetensors");
    fs::copy(gguf("types.gguf"), &named).unwrap();
    assert_eq!(TensorSource::open(&named).unwrap().names().count(), 11);
}

#[test]
fn quantization_changes_the_image_a_little() {
    let exact = pipeline().generate(&request()).unwrap();
    let mut errors = Vec::new();
    for name in ["q8_0", "q4_0"] {
        let quantized = with_transformer(&gguf(name).join("transformer")).unwrap();
        let output = quantized.generate(&request()).unwrap();
        errors.push(relative_error(
            &values(output.latents),
            &values(exact.latents.clone()),
        ));
    }
    // Half a step of 127 and of 7 of a block's largest value, over many sums.
    assert!(
        0.0 < errors[0] && errors[0] < errors[1] && errors[1] < 0.5,
        "{errors:?}"
    );
}

#[test]
fn a_truncated_file_is_refused_wherever_it_ends() {
    let whole = fs::read(gguf("types.gguf")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.gguf");
    // Truncate at every length within the header, and at some within the data.
    let lengths = (4..2048).chain((2048..whole.len()).step_by(997));
    for length in lengths {
        fs::write(&path, &whole[..length]).unwrap();
        let error = TensorSource::open(&path).unwrap_err();
        assert!(
            matches!(
                error,
                OvisImageError::Checkpoint(CheckpointError::InvalidFile { format: "GGUF", .. })
            ),
            "{length} bytes: {error}"
        );
    }
}

#[test]
fn a_file_with_any_byte_changed_is_read_or_refused() {
    let whole = fs::read(gguf("types.gguf")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed.gguf");
    for position in 4..1536 {
        for value in [0x00, 0xff, whole[position] ^ 0x80, whole[position] ^ 1] {
            let mut bytes = whole.clone();
            bytes[position] = value;
            fs::write(&path, &bytes).unwrap();
            let Ok(source) = TensorSource::open(&path) else {
                continue;
            };
            for name in source.names() {
                // An unknown type is an error; nothing panics.
                let _ = source.read(name, WeightDtype::F32);
            }
        }
    }
}

#[test]
fn hostile_headers_are_refused_with_what_they_claim() {
    is_refused(|bytes| bytes[4] = 9, "version 9");
    is_refused(
        |bytes| bytes[4..8].copy_from_slice(&3u32.to_be_bytes()),
        "big-endian",
    );
    // Positions of the number of tensors and of metadata pairs.
    for at in [8, 16] {
        is_refused(
            |bytes| bytes[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes()),
            "header claims",
        );
    }
}

#[test]
fn a_tensor_that_lies_outside_the_file_is_named() {
    is_refused(
        |bytes| {
            let name = b"model.diffusion_model.img_in.weight";
            // dimensions, two axes, type, offset
            let offset = place_of(bytes, name) + name.len() + 4 + 16 + 4;
            bytes[offset..offset + 8].copy_from_slice(&(1u64 << 40).to_le_bytes());
        },
        "tensor `model.diffusion_model.img_in.weight`",
    );
}

#[test]
fn a_tensor_that_is_no_whole_number_of_blocks_is_named() {
    is_refused(
        |bytes| {
            let name = b"single_blocks.0.linear2.weight";
            let columns = place_of(bytes, name) + name.len() + 4;
            bytes[columns..columns + 8].copy_from_slice(&33u64.to_le_bytes());
        },
        "single_blocks.0.linear2.weight`: shape",
    );
}

#[test]
fn scales_that_are_not_finite_are_found_before_they_blacken_a_picture() {
    let source = TensorSource::open(&gguf(Q8_0)).unwrap();
    assert_eq!(
        source.encoding("model.diffusion_model.final_layer.linear.weight"),
        Some(&Encoding::Q8_0)
    );
    for broken in [half::f16::NAN, half::f16::INFINITY] {
        is_refused(
            |bytes| {
                let name = b"model.diffusion_model.final_layer.linear.weight";
                let at = place_of(bytes, name) + name.len() + 4 + 16 + 4;
                let offset = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
                // The data ends with the file, and the tensors' offsets count from its beginning.
                let data = data_start(bytes);
                bytes[data + offset..][..2].copy_from_slice(&broken.to_le_bytes());
            },
            "final_layer.linear.weight`: the Q8_0 scale of block 0",
        );
    }
}

/// Returns the offset of the data: after the last tensor's entry, which ends the header, aligned to
/// 32.
fn data_start(bytes: &[u8]) -> usize {
    let count = u64::from_le_bytes(bytes[8..16].try_into().unwrap()) as usize;
    let mut at = place_of(bytes, b"model.diffusion_model.") - 8;
    for _ in 0..count {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        at += 8 + length;
        let dimensions = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        at += 4 + 8 * dimensions + 4 + 8;
    }
    at.next_multiple_of(32)
}

#[test]
fn a_type_without_a_reader_is_named() {
    let folder = damaged(|bytes| {
        let name = b"model.diffusion_model.img_in.weight";
        let kind = place_of(bytes, name) + name.len() + 4 + 16;
        bytes[kind..kind + 4].copy_from_slice(&23u32.to_le_bytes());
    });
    let error = with_transformer(folder.path()).unwrap_err();
    assert!(
        matches!(&error, OvisImageError::Checkpoint(CheckpointError::UnknownDtype { tensor, dtype, .. })
            if tensor.ends_with("img_in.weight") && dtype == "IQ4_XS"),
        "{error}"
    );
}
