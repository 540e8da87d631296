//! PP-OCR, with the models and rules of the Python package `rapidocr-onnxruntime` 1.4.4.
//!
//! A network marks text, boxes are drawn around the marks ([`detection`]), each box is cut out and
//! turned upright, and another network reads it ([`recognition`]). Where a rule is RapidOCR's and
//! looks arbitrary, it is kept: readings should be equal.

mod batches;
mod boxes;
mod characters;
mod crops;
mod detection;
mod direction;
mod files;
mod order;
mod recognition;
mod sizes;
#[cfg(test)]
mod tests;

use std::path::Path;

use image::RgbImage;

use self::detection::Detector;
use self::direction::DirectionClassifier;
use self::files::ModelFiles;
use self::recognition::Recognizer;
use self::sizes::Prepared;
use super::{Line, ReaderError, Runtime, TextReader};

/// Least confidence of a line.
const LEAST_SCORE: f64 = 0.5;

/// Corners of a text box: top left, top right, bottom right and bottom left.
type Corners = [[f32; 2]; 4];

/// PP-OCR reader.
#[derive(Debug)]
pub struct PpOcr {
    detector: Detector,
    /// Turns lines that stand on their heads; without the model, none is turned.
    direction: Option<DirectionClassifier>,
    recognizer: Recognizer,
}

impl PpOcr {
    /// Loads the models of a folder: `*_det_*.onnx` marks text, `*_rec_*.onnx` reads it, and
    /// `*_cls_*.onnx`, which may be missing, finds lines that stand on their heads. `runtime` runs
    /// them.
    ///
    /// # Errors
    /// Returns [`ReaderError`] if a model is missing, or is not one of PP-OCR.
    pub fn open(folder: &Path, runtime: &Runtime) -> Result<Self, ReaderError> {
        let files = ModelFiles::find(folder)?;
        let direction = files.direction.as_deref();
        let direction = direction.map(|file| DirectionClassifier::load(file, runtime));
        Ok(Self {
            detector: Detector::load(&files.detection, runtime)?,
            direction: direction.transpose()?,
            recognizer: Recognizer::load(&files.recognition, files.characters.as_deref(), runtime)?,
        })
    }
}

impl TextReader for PpOcr {
    fn read(&self, image: &RgbImage) -> Result<Vec<Line>, ReaderError> {
        let prepared = Prepared::new(image)?;
        let mut boxes = self.detector.detect(&prepared.image)?;
        order::sort(&mut boxes);
        let mut crops: Vec<RgbImage> = boxes
            .iter()
            .map(|corners| crops::cut_out(&prepared.image, *corners))
            .collect();
        if let Some(direction) = &self.direction {
            direction.turn_upright(&mut crops)?;
        }
        let readings = self.recognizer.read(&crops)?;
        let lines = boxes.into_iter().zip(readings);
        let lines = lines.filter(|(_, reading)| reading.score >= LEAST_SCORE);
        Ok(lines
            .map(|(corners, reading)| Line {
                text: reading.text,
                score: reading.score,
                corners: prepared.original(corners),
            })
            .collect())
    }
}
