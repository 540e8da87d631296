//! Hashes by which a record tells whether the files that it names are still the same.

use std::fs::File;
use std::io::{Read, Result, Seek, SeekFrom};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Hashes of the files that an image was made from, each `None` if there was no such file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Hashes {
    /// [`of_weights`] of the model and its tokenizer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// [`of_weights`] of each LoRA.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub loras: Vec<String>,
    /// SHA-256 of the source image's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_image: Option<String>,
    /// SHA-256 of the mask's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
    /// SHA-256 of the initial noise: its values in f32, little-endian.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latents: Option<String>,
}

impl Hashes {
    /// Names what has another hash in `before`. What only one of the two has is not compared.
    pub fn differences(&self, before: &Self) -> Vec<&'static str> {
        let differ = |one: &Option<String>, other: &Option<String>| {
            one.is_some() && other.is_some() && one != other
        };
        let same_loras = self.loras.len() == before.loras.len();
        [
            ("model", differ(&self.model, &before.model)),
            ("LoRA", same_loras && self.loras != before.loras),
            ("source image", differ(&self.init_image, &before.init_image)),
            ("mask", differ(&self.mask, &before.mask)),
            ("initial noise", differ(&self.latents, &before.latents)),
        ]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect()
    }
}

/// Returns the SHA-256 of bytes in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(Sha256::digest(bytes).as_slice())
}

/// Bytes at the beginning of a file that are hashed. Headers are there.
const BEGINNING: u64 = 64 << 10;
/// Number of samples of the rest of a file.
const SAMPLES: u64 = 16;
/// Bytes of a sample.
const SAMPLE: u64 = 4 << 10;

/// Returns a hash that identifies files of weights in milliseconds, whatever their size: SHA-256 of
/// the files' sizes, beginnings and samples from 16 places of each. Training changes all weights, so
/// the samples differ where names, sizes and headers are alike. Names are left out: a file that was
/// moved is still the same.
///
/// # Errors
/// Returns the system's error if a file cannot be read.
pub fn of_weights(files: impl IntoIterator<Item = (PathBuf, u64)>) -> Result<String> {
    let mut hash = Sha256::new();
    for (path, bytes) in files {
        hash.update(bytes.to_le_bytes());
        let mut file = File::open(path)?;
        let mut add = |start: u64, length: u64| -> Result<()> {
            let mut part = Vec::new();
            file.seek(SeekFrom::Start(start))?;
            file.by_ref().take(length).read_to_end(&mut part)?;
            hash.update(part);
            Ok(())
        };
        add(0, BEGINNING)?;
        // Small files lie within the beginning. The last sample is the end of the file.
        let last = bytes.saturating_sub(SAMPLE);
        for sample in 1..=SAMPLES {
            let start = (u128::from(last) * u128::from(sample) / u128::from(SAMPLES)) as u64;
            if start + SAMPLE > BEGINNING {
                add(start, SAMPLE)?;
            }
        }
    }
    Ok(hexadecimal(hash.finalize().as_slice()))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha256_as_other_programs_write_it() {
        assert_eq!(
            sha256(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn weights_are_known_by_their_content() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            of_weights([(path, bytes.len() as u64)]).unwrap()
        };
        for length in [0, 100, 70_000, 1 << 20] {
            let bytes = vec![7; length];
            let hash = write("a", &bytes);
            assert_eq!(hash, write("b", &bytes));
            assert_ne!(hash, write("longer", &vec![7; length + 1]));
            for changed in [0, length / 2, length.saturating_sub(1)] {
                let mut other = bytes.clone();
                // A weight of every block of 16 changes, as in training.
                for byte in other.iter_mut().skip(changed % 16).step_by(16) {
                    *byte = 8;
                }
                assert_eq!(hash != write("other", &other), length > 0);
            }
        }
    }

    #[test]
    fn only_what_both_have_is_compared() {
        let hashes = |image: Option<&str>, loras: &[&str]| Hashes {
            init_image: image.map(str::to_owned),
            loras: loras.iter().map(|lora| (*lora).to_owned()).collect(),
            ..Hashes::default()
        };
        let before = hashes(Some("a"), &["x"]);
        assert!(before.differences(&before).is_empty());
        assert!(hashes(None, &[]).differences(&before).is_empty());
        assert_eq!(
            hashes(Some("b"), &["y"]).differences(&before),
            ["LoRA", "source image"]
        );
    }
}
