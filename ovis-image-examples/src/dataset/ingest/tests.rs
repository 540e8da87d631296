//! Compares hashes and measures with those that Python computed. `tests/reference/dataset.py` draws
//! the same images and records them.

use std::fs;
use std::path::Path;

use image::{DynamicImage, GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use serde::Deserialize;

use super::measure::measure;
use super::perceptual_hash::{from_hex, to_hex};

/// File of recorded cases.
#[derive(Deserialize)]
struct Recorded {
    hashes: Vec<Case>,
    one_direction: Vec<OneDirection>,
}

/// Image by its number, with the measures that Python computed.
#[derive(Deserialize)]
struct Case {
    number: i64,
    size: [i64; 2],
    phash: String,
    sharpness: f64,
    contrast: f64,
}

/// Image that changes along one axis only.
#[derive(Deserialize)]
struct OneDirection {
    size: [u32; 2],
    step: u32,
    along: char,
    phash: String,
}

fn recorded() -> Recorded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/dataset.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Number of images without squares.
const PLAIN: i64 = 20;

/// Draws the image that Python drew, in integers.
fn drawn(number: i64, [width, height]: [i64; 2]) -> DynamicImage {
    let k = number + 1;
    let image = RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let (x, y) = (i64::from(x), i64::from(y));
        let mut color = [
            (x * x * k + y * 7 + x * y / (k + 3)) % 256,
            (((x - width / 2).pow(2) + (y - height / 3).pow(2) * k) / (17 * k)) % 256,
            (x * 255 / width + y * (3 + k)) % 256,
        ];
        if number >= PLAIN {
            let square = (x / (5 + number) + y / (9 + number)) % 2;
            let [r, g, b] = color;
            color = [r / 4 + square * 150, g / 8 + 60, b / 16 + square * 40];
        }
        Rgb(color.map(|value| value as u8))
    });
    image.into()
}

#[test]
fn hashes_and_measures_are_those_of_python() {
    let cases = recorded().hashes;
    assert_eq!(cases.len(), 60);
    for case in cases {
        let measures = measure(&drawn(case.number, case.size));
        let found = format!("image {}: {measures:?}", case.number);
        assert_eq!(to_hex(measures.phash), case.phash, "{found}");
        // Both are rounded to three places.
        assert!(
            (measures.sharpness - case.sharpness).abs() <= 0.001,
            "{found}"
        );
        assert!(
            (measures.contrast - case.contrast).abs() <= 0.001,
            "{found}"
        );
    }
}

#[test]
fn bits_of_rounding_noise_are_zero_and_all_others_are_those_of_python() {
    for case in recorded().one_direction {
        let [width, height] = case.size;
        let image = GrayImage::from_fn(width, height, |x, y| {
            Luma([((if case.along == 'x' { x } else { y }) * case.step % 256) as u8])
        });
        // Frequencies along the other axis are zero but for rounding: all rows but the first, or
        // all columns but the first.
        let exact: u64 = if case.along == 'x' {
            0xff << 56
        } else {
            0x8080_8080_8080_8080
        };
        let hash = measure(&image.into()).phash;
        let python = from_hex(&case.phash).unwrap();
        assert_eq!(hash, python & exact, "{hash:016x} {python:016x}");
    }
}

#[test]
fn alpha_gray_and_deep_images_are_measured() {
    let image = drawn(2, [200, 120]);
    let plain = measure(&image);
    assert_eq!(measure(&image.to_rgba8().into()), plain);
    assert_eq!(measure(&image.to_rgb16().into()), plain);
    let gray = measure(&image.to_luma8().into());
    assert_eq!(measure(&image.to_luma8().into()), gray);
    assert_eq!(
        measure(&DynamicImage::from(image.to_luma_alpha8())).phash,
        gray.phash
    );
}

#[test]
fn small_changes_move_few_bits() {
    let image = drawn(24, [640, 480]);
    let hash = measure(&image).phash;
    let mut jpeg = std::io::Cursor::new(Vec::new());
    image.write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
    let again = image::load_from_memory(jpeg.get_ref()).unwrap();
    let smaller = image.resize_exact(320, 240, image::imageops::FilterType::Triangle);
    for changed in [again, smaller] {
        let distance = (measure(&changed).phash ^ hash).count_ones();
        assert!(distance <= 4, "{distance} bits");
    }
}
