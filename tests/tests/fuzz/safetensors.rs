//! Fuzzing of single safetensors files.

use crate::choices::Choices;
use crate::fuzz;
use crate::harness::{Scratch, is_typed, read_all};
use ovis_image::OvisImageError;
use ovis_image::error::CheckpointError;
use ovis_image_tests::golden::golden_folder;

/// Element types with their sizes in bits.
const DTYPES: [(&str, u64); 14] = [
    ("F32", 32),
    ("BF16", 16),
    ("F16", 16),
    ("F64", 64),
    ("I64", 64),
    ("U8", 8),
    ("BOOL", 8),
    ("F8_E4M3", 8),
    ("F4", 4),
    ("F6_E2M3", 6),
    ("Q4_K", 8),
    ("f32", 32),
    ("", 8),
    ("F32\\u0000", 32),
];
const KNOWN_DTYPES: usize = 8;

/// Invalid values for a number of a header.
const NO_NUMBERS: [&str; 16] = [
    "-1",
    "1.0",
    "1e3",
    "1e999",
    "-0",
    "01",
    "18446744073709551616",
    "340282366920938463463374607431768211456",
    "null",
    "true",
    "\"4\"",
    "[4]",
    "{}",
    "",
    "NaN",
    "\u{663}",
];

/// Invalid or unusual names of tensors.
const NAMES: [&str; 8] = [
    "",
    "__metadata__",
    "tensor.0",
    "\\u0000",
    "\\ud800",
    "a\\\"b\\n`",
    "../../etc/passwd",
    "\u{202e}\u{1f600}",
];

/// Returns a number as JSON, mostly the right one.
fn json_number(choices: &mut Choices<'_>, right: u64) -> String {
    if choices.lie() {
        return match choices.below(12) {
            0 => "[".repeat(300),
            1 => "1".repeat(5000),
            _ => choices.pick(&NO_NUMBERS).to_owned(),
        };
    }
    choices.number(right).to_string()
}

/// Builds a file of a few tensors, in which any number and any name may be wrong.
pub(crate) fn built(choices: &mut Choices<'_>) -> Vec<u8> {
    let tensors = choices.below(5);
    let mut entries = Vec::new();
    if choices.below(3) == 0 {
        entries.push(metadata(choices));
    }
    let mut data = 0;
    for index in 0..tensors {
        let name = if choices.lie() {
            choices.pick(&NAMES).to_owned()
        } else {
            format!("tensor.{index}")
        };
        let (dtype, bits) = if choices.lie() {
            choices.pick(&DTYPES)
        } else {
            choices.pick(&DTYPES[..KNOWN_DTYPES])
        };
        let shape: Vec<u64> = (0..choices.below(5))
            .map(|_| choices.below(4) as u64)
            .collect();
        let length = (shape.iter().product::<u64>() * bits).div_ceil(8);
        let offsets = [
            json_number(choices, data),
            json_number(choices, data + length),
        ];
        let shape: Vec<String> = shape
            .into_iter()
            .map(|size| json_number(choices, size))
            .collect();
        let mut fields = vec![
            format!("\"dtype\":\"{dtype}\""),
            format!("\"shape\":[{}]", shape.join(",")),
            format!("\"data_offsets\":[{}]", offsets.join(",")),
        ];
        if choices.lie() {
            let field = choices.below(fields.len());
            match choices.below(3) {
                0 => drop(fields.remove(field)),
                1 => fields.push(fields[field].clone()),
                _ => fields.push(format!("\"more\":{}", json_number(choices, 1))),
            }
        }
        entries.push(format!("\"{name}\":{{{}}}", fields.join(",")));
        data += length;
    }
    if choices.lie()
        && let Some(last) = entries.last().cloned()
    {
        entries.push(last);
    }
    let mut header = format!("{{{}}}", entries.join(","));
    header.push_str(&" ".repeat(choices.below(9)));
    let mut file = with_header(&header, choices);
    let header = file.len();
    let filling = choices.byte();
    file.resize(header + choices.number(data).min(1 << 12) as usize, filling);
    choices.damage(&mut file, header);
    file
}

fn metadata(choices: &mut Choices<'_>) -> String {
    let text = "a text".repeat(choices.below(8));
    let value = if choices.lie() {
        json_number(choices, 7)
    } else {
        format!("\"{text}\"")
    };
    format!("\"__metadata__\":{{\"format\":\"pt\",\"more\":{value}}}")
}

/// Puts a header after its length.
fn with_header(header: &str, choices: &mut Choices<'_>) -> Vec<u8> {
    let mut file = choices.number(header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file
}

/// Damages a file that the reference wrote.
fn edited(choices: &mut Choices<'_>) -> Vec<u8> {
    let golden = golden_folder().join("lora/attention/adapter_model.safetensors");
    let mut file = std::fs::read(golden).unwrap();
    for _ in 0..=choices.below(4) {
        choices.edit(&mut file, 5584);
    }
    file
}

fn read(file: &[u8], is_sound: bool) {
    let scratch = Scratch::new();
    let path = scratch.write("model.safetensors", file);
    match read_all(&path, file.len()) {
        Ok(()) => {}
        Err(error) => {
            assert!(!is_sound, "{error}");
            is_typed(&error, &path);
            let kind = matches!(
                &error,
                OvisImageError::Checkpoint(CheckpointError::InvalidFile { .. })
                    | OvisImageError::Checkpoint(CheckpointError::UnknownDtype { .. })
            );
            assert!(kind, "{error}");
        }
    }
}

#[test]
fn built_files() {
    fuzz!(
        |bytes: &[u8]| {
            let mut choices = Choices::new(bytes);
            let file = match choices.below(4) {
                0 => edited(&mut choices),
                _ => built(&mut choices),
            };
            read(&file, !choices.lied);
        },
        seeds: 4000
    );
}

#[test]
fn any_bytes() {
    fuzz!(|bytes: &[u8]| read(bytes, false), seeds: 50);
}
