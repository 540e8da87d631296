//! Fuzzing of a checkpoint's parts with files that are valid by themselves, but whose names and
//! sizes do not form a model.

use std::time::Instant;

use ovis_image::error::CheckpointError;
use ovis_image::tensor_file::TensorSource;
use ovis_image::{Checkpoint, CheckpointPaths, OvisImageError};
use ovis_image_tests::golden::golden_folder;

use crate::choices::Choices;
use crate::fuzz;
use crate::harness::{LONG, Scratch, alone, is_typed};

/// Type that cannot be read: its tensors may claim any size, because they have no bytes.
const I8: u32 = 24;
const PREFIXES: [&str; 4] = ["", "model.diffusion_model.", "model.", "vae."];

/// Writes a GGUF file of tensors that cannot be read, by name and shape.
fn written(tensors: &[(String, Vec<u64>)]) -> Vec<u8> {
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    file.extend((tensors.len() as u64).to_le_bytes());
    file.extend(0u64.to_le_bytes());
    for (name, shape) in tensors {
        file.extend((name.len() as u64).to_le_bytes());
        file.extend(name.as_bytes());
        file.extend((shape.len() as u32).to_le_bytes());
        file.extend(shape.iter().rev().flat_map(|size| size.to_le_bytes()));
        file.extend(I8.to_le_bytes());
        file.extend(0u64.to_le_bytes());
    }
    file.resize(file.len().next_multiple_of(32), 0);
    file
}

/// Lists a part's names and shapes, of which any may be wrong or missing.
fn built(original: &TensorSource, choices: &mut Choices<'_>) -> Vec<(String, Vec<u64>)> {
    let mut tensors = Vec::new();
    for name in original.names() {
        let mut shape: Vec<u64> = original
            .shape(name)
            .unwrap()
            .iter()
            .map(|size| choices.number(*size as u64))
            .collect();
        let mut name = name.to_owned();
        if choices.lie() {
            match choices.below(5) {
                0 => continue,
                1 => name.push_str(".more"),
                2 => name = format!("{}{name}", choices.pick(&PREFIXES)),
                3 => shape.push(1),
                _ => drop(shape.pop()),
            }
        }
        tensors.push((name, shape));
    }
    tensors
}

#[test]
fn built_files() {
    // What this allocates must not be counted in another test's case.
    let setup = alone();
    let base = CheckpointPaths::discover(golden_folder().join("base/model")).unwrap();
    let parts = [&base.transformer, &base.vae, &base.text_encoder];
    let sources = parts.map(|path| TensorSource::open(path).unwrap());
    let configs = parts.map(|path| std::fs::read(path.join("config.json")).unwrap());
    drop(setup);
    fuzz!(
        |bytes: &[u8]| {
            let mut choices = Choices::new(bytes);
            let scratch = Scratch::new();
            let part = choices.below(3);
            let file = written(&built(&sources[part], &mut choices));
            let mut path = scratch.write("model.gguf", &file);
            if choices.below(2) == 0 {
                let mut config = configs[part].clone();
                let length = config.len();
                choices.damage(&mut config, length);
                scratch.write("config.json", &config);
                path = scratch.path().to_owned();
            }
            let mut paths = base.clone();
            *[&mut paths.transformer, &mut paths.vae, &mut paths.text_encoder][part] = path;

            let start = Instant::now();
            match Checkpoint::open_paths(&paths) {
                Ok(checkpoint) => {
                    checkpoint.inspect();
                    let problems = checkpoint.problems();
                    assert!(!problems.is_empty(), "a type without a reader");
                    for problem in problems {
                        is_typed(&problem, scratch.path());
                    }
                }
                Err(error) => is_typed(&error, scratch.path()),
            }
            assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
        },
        seeds: 400
    );
}

#[test]
fn rows_whose_sum_overflows_are_of_the_wrong_shape() {
    let _alone = alone();
    let mut paths = CheckpointPaths::discover(golden_folder().join("base/model")).unwrap();
    let source = TensorSource::open(&paths.transformer).unwrap();
    let block = "single_transformer_blocks.0.";
    let quarter = 1 << 62;
    let tensors: Vec<(String, Vec<u64>)> = source
        .names()
        .map(|name| {
            let shape = source.shape(name).unwrap();
            let shape: Vec<u64> = shape.iter().map(|size| *size as u64).collect();
            let shape = match name.strip_prefix(block) {
                Some("attn.to_q.bias" | "attn.to_k.bias" | "attn.to_v.bias") => vec![quarter],
                // Sets the axis to the sum of all four parts.
                Some("proj_mlp.bias") => vec![quarter + 3 * 32 + 256],
                _ => shape,
            };
            (name.to_owned(), shape)
        })
        .collect();
    let scratch = Scratch::new();
    let config = paths.transformer.join("config.json");
    scratch.write("config.json", &std::fs::read(config).unwrap());
    scratch.write("model.gguf", &written(&tensors));
    paths.transformer = scratch.path().to_owned();
    let checkpoint = Checkpoint::open_paths(&paths).unwrap();
    match &checkpoint.problems()[..] {
        [OvisImageError::Checkpoint(CheckpointError::Weights(report))] => {
            let [wrong] = &report.wrong_shape[..] else {
                panic!("{report}")
            };
            assert!(wrong.tensor.contains("attn.to_q.bias"), "{report}");
        }
        problems => panic!("{problems:?}"),
    }
}
