//! Reads lines.

use std::path::Path;

use image::RgbImage;
use rten_tensor::prelude::*;
use rten_tensor::{NdTensor, NdTensorView};

use super::batches::{HEIGHT, aspect, batch, batches};
use super::characters::Characters;
use super::files::RECOGNITION;
use crate::reader::error::ReaderError;
use crate::reader::network::{Network, Runtime};

/// Least width of a batch.
const WIDTH: u32 = 320;

/// Network that reads lines.
#[derive(Debug)]
pub(super) struct Recognizer {
    network: Network,
    characters: Characters,
}

/// What was read in a line.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reading {
    /// The text.
    pub(super) text: String,
    /// Mean of the probabilities of its characters.
    pub(super) score: f64,
}

impl Recognizer {
    /// Loads the network, with its characters from its metadata or else from a text file.
    ///
    /// # Errors
    /// Returns [`ReaderError`] if the file is not a recognition model with these characters.
    pub(super) fn load(
        path: &Path,
        characters: Option<&Path>,
        runtime: &Runtime,
    ) -> Result<Self, ReaderError> {
        let network = Network::load(path, RECOGNITION.name, runtime)?;
        let characters = match (network.metadata("character"), characters) {
            (Some(lines), _) => Characters::new(&lines),
            (None, Some(file)) => Characters::read(file)?,
            (None, None) => {
                return Err(network.foreign(
                    "it contains no characters, and no file such as ppocr_keys_v1.txt lies beside it"
                        .to_owned(),
                ));
            }
        };
        let classes = characters.classes();
        network.probe([HEIGHT as usize, WIDTH as usize], |shape: [usize; 3]| {
            (shape[2] != classes)
                .then(|| format!("it tells {} characters apart, not {classes}", shape[2]))
        })?;
        Ok(Self {
            network,
            characters,
        })
    }

    /// Reads lines.
    ///
    /// # Errors
    /// Returns [`ReaderError`] if the network fails.
    pub(super) fn read(&self, lines: &[RgbImage]) -> Result<Vec<Reading>, ReaderError> {
        let nothing = Reading {
            text: String::new(),
            score: 0.0,
        };
        let mut readings = vec![nothing; lines.len()];
        for numbers in batches(lines) {
            let images = numbers.iter().map(|number| &lines[*number]);
            let aspects = images.clone().map(aspect);
            let widest = aspects.fold(f64::from(WIDTH) / f64::from(HEIGHT), f64::max);
            let width = (f64::from(HEIGHT) * widest) as u32;
            let output: NdTensor<f32, 3> = self.network.run(batch(images, width))?;
            for (row, number) in numbers.into_iter().enumerate() {
                readings[number] = decode(&self.characters, output.slice(row));
            }
        }
        Ok(readings)
    }
}

/// Takes the most probable class of each column, and drops repeated ones and gaps.
pub(super) fn decode(characters: &Characters, columns: NdTensorView<'_, f32, 2>) -> Reading {
    let mut text = String::new();
    let mut probabilities = Vec::new();
    let mut before = None;
    for column in 0..columns.size(0) {
        let mut best = (0, f32::NEG_INFINITY);
        for (class, probability) in columns.slice(column).iter().enumerate() {
            if *probability > best.1 {
                best = (class, *probability);
            }
        }
        let (class, probability) = best;
        if before.replace(class) != Some(class)
            && let Some(character) = characters.of_class(class)
        {
            text.push_str(character);
            probabilities.push(f64::from(probability));
        }
    }
    let count = probabilities.len().max(1) as f64;
    Reading {
        text,
        score: probabilities.iter().sum::<f64>() / count,
    }
}
