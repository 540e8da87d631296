//! Files that are sound by themselves, as the parts of a checkpoint: names and sizes that make no
//! model.

use std::time::Instant;

use burn_flex::{Flex, FlexDevice};
use ovis_image::weights::TensorSource;
use ovis_image::{Checkpoint, CheckpointPaths};
use ovis_image_tests::golden::golden_folder;

use crate::choices::Choices;
use crate::fuzz;
use crate::harness::{LONG, Scratch, is_typed};

/// A type without a reader: its tensors may claim any size, as they have no bytes.
const I8: u32 = 24;
const PREFIXES: [&str; 4] = ["", "model.diffusion_model.", "model.", "vae."];

/// A GGUF file with a part's names and shapes, in which any may be wrong or missing.
fn built(original: &TensorSource, choices: &mut Choices<'_>) -> Vec<u8> {
    let mut infos = Vec::new();
    let mut count = 0u64;
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
        infos.extend((name.len() as u64).to_le_bytes());
        infos.extend(name.as_bytes());
        infos.extend((shape.len() as u32).to_le_bytes());
        infos.extend(shape.iter().rev().flat_map(|size| size.to_le_bytes()));
        infos.extend(I8.to_le_bytes());
        infos.extend(0u64.to_le_bytes());
        count += 1;
    }
    let mut file = b"GGUF\x03\0\0\0".to_vec();
    file.extend(count.to_le_bytes());
    file.extend(0u64.to_le_bytes());
    file.extend(infos);
    file.resize(file.len().next_multiple_of(32), 0);
    file
}

#[test]
fn built_files() {
    let base = CheckpointPaths::discover(golden_folder().join("base/model")).unwrap();
    let parts = [&base.transformer, &base.vae, &base.text_encoder];
    let sources = parts.map(|path| TensorSource::open(path).unwrap());
    let configs = parts.map(|path| std::fs::read(path.join("config.json")).unwrap());
    fuzz!(
        |bytes: &[u8]| {
            let mut choices = Choices::new(bytes);
            let scratch = Scratch::new();
            let part = choices.below(3);
            let file = built(&sources[part], &mut choices);
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
                    let problems = checkpoint.problems::<Flex>(&FlexDevice);
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
