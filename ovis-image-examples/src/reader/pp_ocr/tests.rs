//! Comparison with what RapidOCR returned.

use std::io::Write;
use std::path::PathBuf;

use image::imageops::rotate90;
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;
use serde::Deserialize;

use super::characters::Characters;
use super::sizes::Prepared;
use super::{Corners, PpOcr, boxes, crops, order, recognition};
use crate::reader::golden::{Pixels, cases, folder};
use crate::reader::vision::polygon::Map;
use crate::reader::{ReaderError, Runtime, TextReader};

#[test]
fn boxes_around_marks_equal_those_of_rapidocr() {
    #[derive(Deserialize)]
    struct Case {
        map: Vec<String>,
        size: [u32; 2],
        boxes: Vec<Corners>,
    }
    for case in cases::<Case>("boxes") {
        let digits = case.map.iter().flat_map(|row| row.bytes());
        let values: Vec<f32> = digits
            .map(|digit| (f64::from(digit - b'0') / 9.0) as f32)
            .collect();
        let map = Map {
            values: &values,
            width: case.map[0].len(),
            height: case.map.len(),
        };
        assert_eq!(boxes::boxes(map, case.size), case.boxes, "{:?}", case.size);
    }
}

#[test]
fn boxes_are_sorted_as_by_rapidocr() {
    #[derive(Deserialize)]
    struct Case {
        boxes: Vec<Corners>,
        sorted: Vec<Corners>,
    }
    for mut case in cases::<Case>("orders") {
        order::sort(&mut case.boxes);
        assert_eq!(case.boxes, case.sorted);
    }
}

#[test]
fn boxes_are_cut_out_as_by_rapidocr() {
    #[derive(Deserialize)]
    struct Case {
        image: Pixels,
        corners: Corners,
        size: [u32; 2],
        crop: Pixels,
    }
    for case in cases::<Case>("crops") {
        let crop = crops::cut_out(&case.image.image(), case.corners);
        assert_eq!(crop.dimensions(), case.size.into(), "{:?}", case.corners);
        let expected = case.crop.image();
        let pairs = crop.iter().zip(expected.iter());
        // OpenCV's weights differ in the last bit, which moves a value by 1 at a tie.
        let most = pairs
            .map(|(value, expected)| value.abs_diff(*expected))
            .max();
        assert!(most <= Some(1), "{:?}: {most:?}", case.corners);
    }
}

#[test]
fn sizes_equal_those_of_rapidocr() {
    #[derive(Deserialize)]
    struct Case {
        size: [u32; 2],
        prepared: [u32; 2],
        r#box: Corners,
        original: Corners,
    }
    for case in cases::<Case>("sizes") {
        let [width, height] = case.size;
        let image = image::RgbImage::new(width, height);
        let prepared = Prepared::new(&image).unwrap();
        let size = prepared.image.dimensions();
        assert_eq!(size, case.prepared.into(), "{:?}", case.size);
        assert_eq!(
            prepared.original(case.r#box),
            case.original,
            "{:?}",
            case.size
        );
    }
    for (width, height) in [(4000, 10), (0, 0), (0, 100)] {
        let image = image::RgbImage::new(width, height);
        let refused = Prepared::new(&image).unwrap_err();
        assert!(matches!(refused, ReaderError::Narrow { .. }), "{refused}");
    }
}

#[test]
fn columns_are_decoded_as_by_rapidocr() {
    #[derive(Deserialize)]
    struct Case {
        probabilities: Vec<[f32; 5]>,
        text: String,
        score: f64,
    }
    let characters = Characters::new("a\nb\nc\n");
    assert_eq!(characters.classes(), 5);
    for case in cases::<Case>("decoded") {
        let shape = [case.probabilities.len(), 5];
        let table = NdTensor::from_data(shape, case.probabilities.concat());
        let reading = recognition::decode(&characters, table.view());
        assert_eq!(reading.text, case.text);
        assert!((reading.score - case.score).abs() < 1e-12, "{}", case.text);
    }
}

/// Returns the runtime for the comparison of readings, and by how much scores may differ:
/// onnxruntime if `OVIS_ONNXRUNTIME` names its library, and otherwise `rten`.
fn runtime() -> (Runtime, f64) {
    #[cfg(feature = "ort")]
    if let Some(library) = std::env::var_os("OVIS_ONNXRUNTIME") {
        // The recorded scores are of the same library, perhaps on another kind of CPU.
        return (Runtime::load(&PathBuf::from(library)).unwrap(), 1e-5);
    }
    (Runtime::Rten, 0.01)
}

/// The models are not committed. docs/evaluation.md says how to get them.
#[test]
fn images_are_read_as_by_rapidocr() {
    #[derive(Deserialize)]
    struct Line {
        text: String,
        score: f64,
        corners: Corners,
    }
    #[derive(Deserialize)]
    struct Case {
        image: String,
        quarter_turns: usize,
        lines: Vec<Line>,
    }
    let Some(models) = std::env::var_os("OVIS_PP_OCR_MODELS") else {
        // Standard error, past the capture of the test harness.
        let _ = writeln!(std::io::stderr(), "skipped: no OVIS_PP_OCR_MODELS");
        return;
    };
    let (runtime, tolerance) = runtime();
    let reader = PpOcr::open(&PathBuf::from(models), &runtime).unwrap();
    for case in cases::<Case>("readings") {
        let path = folder().join("reader").join(&case.image);
        let mut image = image::open(&path).unwrap().into_rgb8();
        for _ in 0..case.quarter_turns {
            image = rotate90(&image);
        }
        let lines = reader.read(&image).unwrap();
        let place = format!("{} turned {} times", case.image, case.quarter_turns);
        assert_eq!(lines.len(), case.lines.len(), "{place}");
        for (line, expected) in lines.iter().zip(&case.lines) {
            assert_eq!(line.text, expected.text, "{place}");
            assert_eq!(line.corners, expected.corners, "{place}");
            assert!((line.score - expected.score).abs() < tolerance, "{place}");
        }
    }
}

#[test]
fn a_file_that_is_not_a_model_is_refused_by_name() {
    let models = tempfile::tempdir().unwrap();
    for name in ["x_det.onnx", "x_rec.onnx"] {
        std::fs::write(models.path().join(name), "not a model").unwrap();
    }
    let refused = PpOcr::open(models.path(), &Runtime::Rten).unwrap_err();
    assert!(matches!(refused, ReaderError::NotPpOcr { .. }), "{refused}");
    let message = refused.to_string();
    assert!(
        message.contains("x_det.onnx is not a detection model"),
        "{message}"
    );
    let missing = models.path().join("none");
    let refused = PpOcr::open(&missing, &Runtime::Rten).unwrap_err();
    assert!(matches!(refused, ReaderError::Folder { .. }), "{refused}");
}
