//! Settings that determine the bytes of a set, stored beside it. A run resumes only if they match.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::typography::{Fonts, Preset};

/// Version of the engine. It increases when the same seed gives another image.
const ENGINE: u32 = 2;

/// Settings of a set. They contain no paths, so that they are equal on every machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Settings {
    engine: u32,
    pub(super) preset: String,
    preset_sha256: String,
    pub(super) seed: u64,
    pub(super) first: u64,
    pub(super) count: u64,
    width: u32,
    height: u32,
    fonts_sha256: String,
    /// Names of the selected fonts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) font: Vec<String>,
    /// Hash of the names and sizes of the photographs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) backgrounds: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) characters: Option<[usize; 2]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lines: Option<[usize; 2]>,
    pub(super) held_out: bool,
}

impl Settings {
    pub(super) fn new(
        preset: &Preset,
        text: &str,
        fonts: &Fonts,
        seed: u64,
        size: [u32; 2],
    ) -> Self {
        Self {
            engine: ENGINE,
            preset: preset.name.clone(),
            preset_sha256: hash(text),
            seed,
            first: 0,
            count: 0,
            width: size[0],
            height: size[1],
            fonts_sha256: fonts.hash().to_owned(),
            font: Vec::new(),
            backgrounds: None,
            characters: None,
            lines: None,
            held_out: false,
        }
    }
}

/// Returns a SHA-256 in hexadecimal digits.
pub(super) fn hash(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
