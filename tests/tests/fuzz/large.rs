//! Files of some megabytes, in which an attacker's work would be multiplied.

use std::fmt::Write as _;
use std::time::Instant;

use ovis_image::{Checkpoint, CheckpointPaths, LoraFile};
use ovis_image_tests::golden::golden_folder;

use crate::harness::{LONG, Scratch, alone, is_typed, read_all, watched};

const MANY: usize = 100_000;

fn with_header(header: &str) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file
}

/// Builds a header of tensors without elements.
fn empty_tensors(names: impl Iterator<Item = String>) -> String {
    let mut header = String::from("{");
    for name in names {
        write!(
            header,
            "\"{name}\":{{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}},"
        )
        .unwrap();
    }
    header.pop();
    header + "}"
}

#[test]
fn headers_of_many_small_values_take_no_more_than_their_size() {
    let _alone = alone();
    let scratch = Scratch::new();
    for filling in ["{\"\":0},", "[],", "0,", "\"\","] {
        let list = filling.repeat(4 * MANY / filling.len());
        let list = list.trim_end_matches(',');
        for header in [
            format!("{{\"a\":[{list}]}}"),
            format!("{{\"a\":{{\"x\":[{list}]}}}}"),
            format!("{{\"a\":{{\"shape\":[{list}]}}}}"),
            format!("{{\"__metadata__\":{{\"x\":[{list}]}}}}"),
            format!("[{list}]"),
        ] {
            let file = with_header(&header);
            let path = scratch.write("model.safetensors", &file);
            is_typed(&read_all(&path, file.len()).unwrap_err(), &path);
        }
    }
}

#[test]
fn many_tensors_are_read_in_proportion() {
    let _alone = alone();
    let scratch = Scratch::new();
    let file = with_header(&empty_tensors((0..MANY).map(|i| i.to_string())));
    let path = scratch.write("model.safetensors", &file);
    read_all(&path, file.len()).unwrap();
}

#[test]
fn many_layers_are_counted_in_proportion() {
    let _alone = alone();
    let base = CheckpointPaths::discover(golden_folder().join("base/model")).unwrap();
    let scratch = Scratch::new();
    for (part, prefixes) in [
        (0, ["transformer_blocks.", "single_transformer_blocks."]),
        (
            1,
            ["encoder.down_blocks.", "encoder.down_blocks.0.resnets."],
        ),
        (2, ["layers.", "model.layers."]),
    ] {
        let keys = [
            [
                "x_embedder.weight",
                "single_transformer_blocks.0.attn.norm_q.weight",
            ],
            [
                "decoder.mid_block.resnets.0.conv1.weight",
                "decoder.conv_in.weight",
            ],
            ["embed_tokens.weight", "layers.0.self_attn.q_norm.weight"],
        ][part];
        for prefix in prefixes {
            let layers = (0..MANY).map(|i| format!("{prefix}{i}.conv1.weight"));
            let file = with_header(&empty_tensors(
                keys.map(str::to_owned).into_iter().chain(layers),
            ));
            let path = scratch.write("model.safetensors", &file);
            let mut paths = base.clone();
            *[
                &mut paths.transformer,
                &mut paths.vae,
                &mut paths.text_encoder,
            ][part] = path.clone();
            let start = Instant::now();
            let error = Checkpoint::open_paths(&paths).unwrap_err();
            is_typed(&error, &path);
            assert!(start.elapsed() < LONG, "{prefix}: {:?}", start.elapsed());
        }
    }
}

#[test]
fn a_configuration_of_many_blocks_is_compared_in_proportion() {
    let _alone = alone();
    let base = CheckpointPaths::discover(golden_folder().join("base/model")).unwrap();
    let scratch = Scratch::new();
    let config = std::fs::read_to_string(base.transformer.join("config.json")).unwrap();
    let config = config
        .replace("\"num_layers\": 2", "\"num_layers\": 1024")
        .replace("\"num_single_layers\": 2", "\"num_single_layers\": 1024");
    scratch.write("config.json", config.as_bytes());
    let header = empty_tensors(["x_embedder.weight".to_owned()].into_iter());
    scratch.write("model.safetensors", &with_header(&header));
    let mut paths = base;
    paths.transformer = scratch.path().to_owned();
    let start = Instant::now();
    let checkpoint = Checkpoint::open_paths(&paths).unwrap();
    let problems = checkpoint.problems();
    assert_eq!(problems.len(), 1);
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
}

#[test]
fn many_patterns_of_many_modules_are_matched_in_proportion() {
    let _alone = alone();
    let scratch = Scratch::new();
    let mut header = String::from("{");
    let modules = MANY / 5;
    for i in 0..modules {
        let at = 8 * i;
        write!(
            header,
            "\"blocks.{i}.q.lora_A.weight\":{{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[{at},{}]}},\
             \"blocks.{i}.q.lora_B.weight\":{{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[{},{}]}},",
            at + 4,
            at + 4,
            at + 8
        )
        .unwrap();
    }
    header.pop();
    let mut file = with_header(&(header + "}"));
    file.resize(file.len() + 8 * modules, 0);
    scratch.write("adapter_model.safetensors", &file);
    let patterns: Vec<String> = (0..MANY / 2).map(|i| format!("\"{i}.q\":1")).collect();
    let config = format!(
        "{{\"lora_alpha\":1,\"alpha_pattern\":{{{}}}}}",
        patterns.join(",")
    );
    scratch.write("adapter_config.json", config.as_bytes());
    let bytes = file.len() + config.len();
    let lora = watched(bytes, || LoraFile::open(scratch.path())).unwrap();
    assert_eq!(lora.modules().len(), modules);
}
