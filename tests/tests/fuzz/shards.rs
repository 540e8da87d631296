//! Fuzzing of folders of shards with their index.

use crate::choices::Choices;
use crate::fuzz;
use crate::harness::{Scratch, is_typed, read_all};
use ovis_image_tests::golden::golden_folder;

const INDEX: &str = "model.safetensors.index.json";
const SHARDS: [&str; 2] = ["model-1.safetensors", "model-2.safetensors"];

/// Paths that an index must not name.
const PLACES: [&str; 14] = [
    "../model-1.safetensors",
    "/etc/passwd",
    "",
    ".",
    "..",
    "./model-1.safetensors",
    "model-1.safetensors/",
    "model-1.safetensors/.",
    "model-1.safetensors/../../x",
    "absent.safetensors",
    "model.safetensors.index.json",
    "a\\u0000b",
    "\\\\\\\\server\\\\share",
    "model-2.safetensors",
];

/// Values of a JSON object that should be texts.
const NO_TEXTS: [&str; 6] = ["1", "null", "[]", "{\"a\":\"b\"}", "\"\\ud800\"", "tru"];

/// Builds a shard of one tensor for each letter.
fn shard(letters: &[char]) -> Vec<u8> {
    let entries: Vec<String> = letters
        .iter()
        .enumerate()
        .map(|(i, letter)| {
            format!(
                "\"{letter}\":{{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[{},{}]}}",
                4 * i,
                4 * i + 4
            )
        })
        .collect();
    let header = format!("{{{}}}", entries.join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(vec![0; 4 * letters.len()]);
    file
}

fn built(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut entries = Vec::new();
    for letter in 'a'..='d' {
        let place = SHARDS[choices.below(2)];
        let right = match letter {
            'a' | 'b' => SHARDS[0],
            _ => SHARDS[1],
        };
        // An index need not name every tensor.
        if place == right {
            let name = if choices.lie() {
                choices
                    .pick(&["", "e", "a", "__metadata__", "\\u0000"])
                    .into()
            } else {
                letter.to_string()
            };
            let value = if choices.lie() {
                match choices.below(4) {
                    0 => choices.pick(&NO_TEXTS).to_owned(),
                    _ => format!("\"{}\"", choices.pick(&PLACES)),
                }
            } else {
                format!("\"{place}\"")
            };
            entries.push(format!("\"{name}\":{value}"));
        }
    }
    if entries.is_empty() {
        entries.push(format!("\"a\":\"{}\"", SHARDS[0]));
    }
    let map = if choices.lie() {
        choices.pick(&["", "[]", "{}", "null", "\"\"", "1"]).into()
    } else {
        format!("{{{}}}", entries.join(","))
    };
    let key = choices.first_of(&["weight_map", "weight_maps", "metadata", ""]);
    let total = choices.number(16);
    let mut index =
        format!("{{\"metadata\":{{\"total_size\":{total}}},\"{key}\":{map}}}").into_bytes();
    let length = index.len();
    choices.damage(&mut index, length);
    index
}

fn edited(choices: &mut Choices<'_>) -> Vec<u8> {
    let golden = golden_folder()
        .join("head64_sharded/model/text_encoder")
        .join(INDEX);
    let mut index = std::fs::read(golden).unwrap();
    let length = index.len();
    for _ in 0..=choices.below(4) {
        choices.edit(&mut index, length);
    }
    index
}

fn read(index: &[u8], shards: [&[u8]; 2], is_sound: bool) {
    let scratch = Scratch::new();
    scratch.write(INDEX, index);
    for (name, bytes) in SHARDS.iter().zip(shards) {
        scratch.write(name, bytes);
    }
    let bytes = index.len() + shards[0].len() + shards[1].len();
    if let Err(error) = read_all(scratch.path(), bytes) {
        assert!(!is_sound, "{error}");
        is_typed(&error, scratch.path());
    }
}

#[test]
fn built_files() {
    fuzz!(
        |bytes: &[u8]| {
            let mut choices = Choices::new(bytes);
            let index = match choices.below(4) {
                0 => edited(&mut choices),
                _ => built(&mut choices),
            };
            // Tensor `c` may be in both shards.
            let first = if choices.lie() {
                shard(&['a', 'b', 'c'])
            } else {
                shard(&['a', 'b'])
            };
            read(&index, [&first, &shard(&['c', 'd'])], !choices.lied);
        },
        seeds: 2000
    );
}

#[test]
fn any_bytes() {
    fuzz!(
        |bytes: &[u8]| {
            let shards = [shard(&['a', 'b']), shard(&['c', 'd'])];
            read(bytes, [&shards[0], &shards[1]], false);
        },
        seeds: 50
    );
}
