//! Marks text in an image and returns boxes around it.

use std::path::Path;

use image::RgbImage;
use rten_tensor::NdTensor;
use rten_tensor::prelude::*;

use super::boxes::boxes;
use super::files::DETECTION;
use super::{Corners, sizes};
use crate::reader::error::ReaderError;
use crate::reader::network::{Network, Runtime};
use crate::reader::vision::polygon::Map;
use crate::reader::vision::resize::resize;

/// Least length of the short side for the network.
const SHORTEST: u32 = 736;

/// Network that marks text.
#[derive(Debug)]
pub(super) struct Detector {
    network: Network,
}

impl Detector {
    /// Loads the network.
    ///
    /// # Errors
    /// Returns [`ReaderError`] if the file is not a detection model.
    pub(super) fn load(path: &Path, runtime: &Runtime) -> Result<Self, ReaderError> {
        let network = Network::load(path, DETECTION.name, runtime)?;
        network.probe([64, 32], |shape: [usize; 4]| {
            (shape != [1, 1, 64, 32])
                .then(|| format!("for an image of 32x64, it returns the shape {shape:?}"))
        })?;
        Ok(Self { network })
    }

    /// Returns the boxes around texts, in the order in which they were found.
    ///
    /// # Errors
    /// Returns [`ReaderError`] if the network fails or the image is too narrow.
    pub(super) fn detect(&self, image: &RgbImage) -> Result<Vec<Corners>, ReaderError> {
        let (width, height) = image.dimensions();
        let side = width.min(height);
        let ratio = f64::from(SHORTEST) / f64::from(side.min(SHORTEST));
        let [scaled_width, scaled_height] = sizes::rounded([width, height], ratio);
        let scaled = resize(image, scaled_width, scaled_height);
        let output: NdTensor<f32, 4> = self.network.run(batch(&scaled))?;
        let [_, _, map_height, map_width] = output.shape();
        let values = output.to_vec();
        let map = Map {
            values: &values,
            width: map_width,
            height: map_height,
        };
        Ok(boxes(map, [width, height]))
    }
}

/// Returns the image as the network takes it: blue first, from -1 to 1.
fn batch(image: &RgbImage) -> NdTensor<f32, 4> {
    let inverse = (1.0 / 255.0) as f32;
    let value = |byte: u8| {
        let value = f64::from(f32::from(byte) * inverse);
        ((value - 0.5) / 0.5) as f32
    };
    let values = [2, 1, 0].into_iter().flat_map(|channel| {
        let bytes = image.pixels().map(move |pixel| pixel.0[channel]);
        bytes.map(value)
    });
    let shape = [1, 3, image.height() as usize, image.width() as usize];
    NdTensor::from_data(shape, values.collect::<Vec<f32>>())
}
