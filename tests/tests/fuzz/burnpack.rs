//! Fuzzing of burnpack files.

use ciborium::Value;
use ovis_image::OvisImageError;
use ovis_image::error::CheckpointError;

use crate::choices::Choices;
use crate::fuzz;
use crate::harness::{Scratch, is_typed, read_all};

/// Element types with their sizes in bytes; those of size 0 are not read.
const DTYPES: [(&str, u64); 5] = [("F32", 4), ("BF16", 2), ("F16", 2), ("I64", 0), ("Z80", 0)];
const ALIGNMENT: u64 = 256;

/// Builds a file of a few tensors, in which any number may be wrong.
fn built(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut tensors = Vec::new();
    let mut data: u64 = 0;
    for index in 0..choices.below(5) as u64 {
        let mut dtype = choices.pick(&DTYPES[..3]);
        if choices.lie() {
            dtype = choices.pick(&DTYPES);
        }
        let shape: Vec<u64> = (0..choices.below(4))
            .map(|_| choices.below(4) as u64)
            .collect();
        let begin = data.next_multiple_of(ALIGNMENT);
        data = begin + shape.iter().product::<u64>() * dtype.1;
        let shape = shape.into_iter().map(|size| choices.number(size).into());
        let descriptor = vec![
            ("dtype".into(), dtype.0.into()),
            ("shape".into(), Value::Array(shape.collect())),
            (
                "data_offsets".into(),
                Value::Array(vec![
                    choices.number(begin).into(),
                    choices.number(data).into(),
                ]),
            ),
            ("param_id".into(), choices.number(7).into()),
        ];
        let name = format!("tensor.{}", choices.number(index));
        tensors.push((name.into(), Value::Map(descriptor)));
    }
    let metadata = vec![("format".into(), "burnpack".into())];
    let header = Value::Map(vec![
        ("tensors".into(), Value::Map(tensors)),
        ("metadata".into(), Value::Map(metadata)),
    ]);
    let mut cbor = Vec::new();
    ciborium::into_writer(&header, &mut cbor).unwrap();

    let mut file = b"NRUB".to_vec();
    file.extend((choices.number(1) as u16).to_le_bytes());
    file.extend((choices.number(cbor.len() as u64) as u32).to_le_bytes());
    file.extend(cbor);
    let header = file.len();
    let start = header.next_multiple_of(ALIGNMENT as usize);
    let filling = choices.byte();
    file.resize(start + data as usize, filling);
    choices.damage(&mut file, header);
    file
}

fn read(file: &[u8], is_sound: bool) {
    let scratch = Scratch::new();
    let path = scratch.write("model.bpk", file);
    if let Err(error) = read_all(&path, file.len()) {
        assert!(!is_sound, "{error}");
        is_typed(&error, &path);
        let kept_magic = file.starts_with(b"NRUB");
        let is_burnpack = matches!(
            &error,
            OvisImageError::Checkpoint(CheckpointError::InvalidFile {
                format: "burnpack",
                ..
            })
        );
        assert!(is_burnpack || !kept_magic, "{error}");
    }
}

#[test]
fn built_files() {
    fuzz!(
        |bytes: &[u8]| {
            let mut choices = Choices::new(bytes);
            let file = built(&mut choices);
            read(&file, !choices.lied);
        },
        seeds: 4000
    );
}

#[test]
fn any_bytes() {
    fuzz!(
        |bytes: &[u8]| {
            let mut file = b"NRUB\x01\x00".to_vec();
            file.extend(((bytes.len() / 2) as u32).to_le_bytes());
            file.extend(bytes);
            read(&file, false);
        },
        seeds: 50
    );
}
