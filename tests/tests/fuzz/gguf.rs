//! Fuzzing of GGUF files.

use crate::choices::Choices;
use crate::fuzz;
use crate::harness::{Scratch, is_typed, read_all};
use ovis_image::OvisImageError;
use ovis_image::error::CheckpointError;
use ovis_image_tests::golden::golden_folder;

/// Type numbers with the elements and bytes of a block.
const READABLE: [(u32, u64, u64); 11] = [
    (0, 1, 4),
    (1, 1, 2),
    (30, 1, 2),
    (2, 32, 18),
    (3, 32, 20),
    (6, 32, 22),
    (7, 32, 24),
    (8, 32, 34),
    (12, 256, 144),
    (13, 256, 176),
    (14, 256, 210),
];
const UNREADABLE: [u32; 8] = [4, 9, 10, 23, 24, 39, 255, u32::MAX];

/// Types of metadata values with their sizes.
const SCALARS: [(u32, usize); 10] = [
    (4, 4),
    (0, 1),
    (1, 1),
    (2, 2),
    (3, 2),
    (5, 4),
    (6, 4),
    (7, 1),
    (10, 8),
    (12, 8),
];
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Builds a file of a few values and tensors, in which any number may be wrong.
fn built(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut file = b"GGUF".to_vec();
    let version = choices.pick(&[2, 3]);
    u32_to(&mut file, choices.number(version) as u32);
    let (tensors, pairs) = (choices.below(5) as u64, choices.below(5) as u64);
    for count in [tensors, pairs] {
        u64_to(&mut file, choices.number(count));
    }
    let mut alignment = 32;
    for _ in 0..pairs {
        if choices.below(3) == 0 {
            alignment = 1 << choices.below(9);
            string_to(&mut file, b"general.alignment", choices);
            u32_to(&mut file, choices.first_of(&[4, 10, STRING, ARRAY, 99]));
            u32_to(&mut file, choices.number(alignment) as u32);
        } else {
            string_to(&mut file, b"some.key", choices);
            let kind = choices.below(12);
            value_to(&mut file, kind, 3, choices);
        }
    }

    let mut data: u64 = 0;
    for index in 0..tensors {
        let (mut kind, elements, bytes) = choices.pick(&READABLE);
        let dimensions = choices.below(5) as u64;
        // A scalar is not a whole block.
        let dimensions = dimensions.max(u64::from(elements > 1));
        let mut shape: Vec<u64> = (0..dimensions).map(|_| choices.below(4) as u64).collect();
        if let Some(first) = shape.first_mut() {
            *first *= elements;
        }
        let length = shape.iter().product::<u64>() / elements * bytes;

        let name = format!("tensor.{}", choices.number(index));
        string_to(&mut file, name.as_bytes(), choices);
        u32_to(&mut file, choices.number(dimensions) as u32);
        for size in shape {
            u64_to(&mut file, choices.number(size));
        }
        if choices.lie() {
            kind = choices.pick(&UNREADABLE);
        }
        u32_to(&mut file, choices.number(kind.into()) as u32);
        u64_to(&mut file, choices.number(data));
        data = (data + length).next_multiple_of(alignment);
    }
    let header = file.len();
    let start = header.next_multiple_of(alignment as usize);
    let filling = choices.byte();
    file.resize(start + data as usize, filling);
    choices.damage(&mut file, header);
    file
}

fn u32_to(file: &mut Vec<u8>, number: u32) {
    file.extend(number.to_le_bytes());
}

fn u64_to(file: &mut Vec<u8>, number: u64) {
    file.extend(number.to_le_bytes());
}

fn string_to(file: &mut Vec<u8>, text: &[u8], choices: &mut Choices<'_>) {
    u64_to(file, choices.number(text.len() as u64));
    file.extend(text);
    if choices.lie() {
        // The text is no longer UTF-8; names are.
        file.push(0xff);
    }
}

/// Writes a metadata value with its type; arrays within arrays up to `depth`.
fn value_to(file: &mut Vec<u8>, kind: usize, depth: usize, choices: &mut Choices<'_>) {
    let kind_at = file.len();
    u32_to(file, 0);
    let kind = match SCALARS.get(kind) {
        Some((kind, size)) => {
            file.extend(vec![choices.byte(); *size]);
            *kind
        }
        None if depth == 0 || kind == SCALARS.len() => {
            string_to(file, b"a text", choices);
            STRING
        }
        None => {
            array_to(file, depth, choices);
            ARRAY
        }
    };
    let kind = choices.number(kind.into()) as u32;
    file[kind_at..kind_at + 4].copy_from_slice(&kind.to_le_bytes());
}

/// Writes an array's element type, length and elements.
fn array_to(file: &mut Vec<u8>, depth: usize, choices: &mut Choices<'_>) {
    let length = choices.below(4) as u64;
    let element = choices.below(12);
    if let Some((kind, size)) = SCALARS.get(element) {
        u32_to(file, choices.number((*kind).into()) as u32);
        u64_to(file, choices.number(length));
        file.extend(vec![1; size * length as usize]);
    } else if depth == 0 || element == SCALARS.len() {
        u32_to(file, STRING);
        u64_to(file, choices.number(length));
        for _ in 0..length {
            string_to(file, b"an element", choices);
        }
    } else {
        u32_to(file, ARRAY);
        u64_to(file, choices.number(length));
        let deeper = if choices.lie() { depth + 2 } else { depth - 1 };
        for _ in 0..length.min(2) {
            array_to(file, deeper, choices);
        }
        for _ in 2..length {
            u32_to(file, SCALARS[0].0);
            u64_to(file, 0);
        }
    }
}

/// Damages a file that the reference wrote.
fn edited(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut file = std::fs::read(golden_folder().join("gguf/types.gguf")).unwrap();
    for _ in 0..=choices.below(4) {
        choices.edit(&mut file, 1024);
    }
    file
}

fn read(file: &[u8], is_sound: bool) {
    let scratch = Scratch::new();
    let path = scratch.write("model.gguf", file);
    match read_all(&path, file.len()) {
        Ok(()) => {}
        Err(error) => {
            assert!(!is_sound, "{error}");
            is_typed(&error, &path);
            let kept_magic = file.starts_with(b"GGUF");
            let is_gguf = matches!(
                &error,
                OvisImageError::Checkpoint(CheckpointError::InvalidFile { format: "GGUF", .. })
            );
            assert!(is_gguf || !kept_magic, "{error}");
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
