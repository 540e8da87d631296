//! Turns lines upright that stand on their heads.

use std::path::Path;

use image::RgbImage;
use image::imageops::rotate180_in_place;
use rten_tensor::NdTensor;

use super::batches::{HEIGHT, batch, batches};
use super::files::DIRECTION;
use crate::reader::error::ReaderError;
use crate::reader::network::{Network, Runtime};

/// Width of a line for the network.
const WIDTH: u32 = 192;
/// A line is turned if the network is surer than this.
const SURE: f32 = 0.9;

/// Network that tells whether a line stands on its head.
#[derive(Debug)]
pub(super) struct DirectionClassifier {
    network: Network,
}

impl DirectionClassifier {
    /// Loads the network.
    ///
    /// # Errors
    /// Returns [`ReaderError`] if the file is not a direction model.
    pub(super) fn load(path: &Path, runtime: &Runtime) -> Result<Self, ReaderError> {
        let network = Network::load(path, DIRECTION.name, runtime)?;
        let size = [HEIGHT as usize, WIDTH as usize];
        network.probe(size, |shape: [usize; 2]| {
            (shape != [1, 2]).then(|| format!("for a line, it returns the shape {shape:?}"))
        })?;
        Ok(Self { network })
    }

    /// Turns the lines that stand on their heads.
    ///
    /// # Errors
    /// Returns [`ReaderError`] if the network fails.
    pub(super) fn turn_upright(&self, lines: &mut [RgbImage]) -> Result<(), ReaderError> {
        for numbers in batches(lines) {
            let images = numbers.iter().map(|number| &lines[*number]);
            let output: NdTensor<f32, 2> = self.network.run(batch(images, WIDTH))?;
            for (row, number) in numbers.into_iter().enumerate() {
                let (upright, turned) = (output[[row, 0]], output[[row, 1]]);
                if turned > upright && turned > SURE {
                    rotate180_in_place(&mut lines[number]);
                }
            }
        }
        Ok(())
    }
}
