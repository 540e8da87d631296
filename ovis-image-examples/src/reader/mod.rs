//! Readers of the text in images, for benchmarks and rewards.

pub mod error;
#[cfg(test)]
mod golden;
mod network;
pub mod pp_ocr;
pub mod tesseract;
mod vision;

use image::RgbImage;

pub use error::ReaderError;
pub use network::Runtime;
pub use pp_ocr::PpOcr;
pub use tesseract::Tesseract;

/// Line of text that was read in an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The text.
    pub text: String,
    /// Confidence of the reader, from 0 to 1.
    pub score: f64,
    /// Corners in pixels as `[x, y]`: top left, top right, bottom right and bottom left of the text.
    pub corners: [[f32; 2]; 4],
}

/// Reads the text in images.
pub trait TextReader {
    /// Reads the lines of an image, in reading order.
    ///
    /// # Errors
    /// Returns [`ReaderError`] if the image cannot be read.
    fn read(&self, image: &RgbImage) -> Result<Vec<Line>, ReaderError>;
}
