//! Recorded results of OpenCV, Clipper and RapidOCR, made by `tests/reference/reader.py`.

use std::fs;
use std::path::PathBuf;

use image::RgbImage;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::vision::Point;

/// Returns the folder of recorded results.
pub(super) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden")
}

/// Returns the recorded cases of a step.
pub(super) fn cases<C: DeserializeOwned>(step: &str) -> Vec<C> {
    let bytes = fs::read(folder().join("reader.json")).unwrap();
    let mut record: Value = serde_json::from_slice(&bytes).unwrap();
    let cases: Vec<C> = serde_json::from_value(record[step].take()).unwrap();
    assert!(!cases.is_empty());
    cases
}

/// Image as rows of hexadecimal numbers.
#[derive(Debug, Deserialize)]
pub(super) struct Pixels(Vec<String>);

impl Pixels {
    pub(super) fn image(&self) -> RgbImage {
        let bytes: Vec<u8> = self
            .0
            .iter()
            .flat_map(|row| (0..row.len() / 2).map(move |at| &row[2 * at..2 * at + 2]))
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect();
        let width = self.0[0].len() / 6;
        RgbImage::from_raw(width as u32, self.0.len() as u32, bytes).unwrap()
    }
}

pub(super) fn points(pairs: &[[i32; 2]]) -> Vec<Point> {
    pairs.iter().map(|[x, y]| Point { x: *x, y: *y }).collect()
}
