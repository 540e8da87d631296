//! Batches for flow matching: images that are drawn or read, and their encodings.

use std::sync::Arc;

use anyhow::Result;
use burn::tensor::backend::Backend;
use ovis_image::sampling::NoiseGenerator;
use ovis_image::training::{ImageBatch, TimestepDistribution};

use super::cached::cached_batch;
use super::data::{ChosenCaption, TrainingData};
use super::drawing::Drawing;
use super::encoded_rows::{EncodedRows, MOST_BYTES, encoded_bytes};
use super::encoding::Encoding;
use super::queue::BatchSource;
use super::random::seed_for;
use super::resolved::Resolved;
use crate::training_data::DataRow;
use crate::training_data::cache::Cache;

/// Images with their captions, and what encodes them.
#[derive(Debug)]
pub enum FlowImages<B: Backend> {
    /// Images that are drawn.
    Drawn(Box<Encoding<B>>),
    /// Images that are read.
    Read(TrainingData, Encoder<B>),
}

impl<B: Backend> FlowImages<B> {
    /// Returns the images of a run, which are drawn without data.
    ///
    /// # Errors
    /// Returns the error of an image that cannot be read.
    pub fn new(data: Option<&TrainingData>, encoding: Encoding<B>) -> Result<Self> {
        Ok(match data {
            Some(data) => Self::Read(data.clone(), Encoder::of(data, encoding)?),
            None => Self::Drawn(Box::new(encoding)),
        })
    }
}

/// Source of the encodings of rows.
#[derive(Debug, Clone)]
pub enum Encoder<B: Backend> {
    /// Models that encode each batch.
    Models(Box<Encoding<B>>),
    /// A cache of encodings in files, with the number of text rows.
    Cache(Arc<Cache>, usize, B::Device),
    /// Encodings in memory.
    Memory(Arc<EncodedRows>, B::Device),
}

impl<B: Backend> Encoder<B> {
    /// Chooses what encodes data that is read: its cache if it has one, encodings that are made now
    /// if there are not too many and captions do not change, or else the models.
    ///
    /// # Errors
    /// Returns an error that names the image that cannot be read.
    fn of(data: &TrainingData, encoding: Encoding<B>) -> Result<Self> {
        let device = encoding.device.clone();
        if let Some(cache) = data.cache() {
            return Ok(Self::Cache(cache.clone(), encoding.text_rows, device));
        }
        if data.encodes_first() && encoded_bytes(data.rows(), encoding.text_rows) <= MOST_BYTES {
            let rows = EncodedRows::new(&encoding, data.rows())?;
            return Ok(Self::Memory(Arc::new(rows), device));
        }
        Ok(Self::Models(Box::new(encoding)))
    }

    /// Returns rows with one caption each, or the empty prompt, as a batch without timesteps.
    ///
    /// # Errors
    /// Returns an error that names what cannot be read.
    pub(super) fn batch(
        &self,
        rows: &[(&DataRow, Option<ChosenCaption>)],
        noise: u64,
    ) -> Result<ImageBatch<B>> {
        match self {
            Self::Memory(encoded, device) => encoded.batch(rows, noise, device),
            Self::Cache(cache, text_rows, device) => {
                let indices = rows.iter().map(|(row, caption)| {
                    let index = caption.as_ref().map(|caption| caption.index);
                    (*row, index)
                });
                let rows: Vec<(&DataRow, Option<usize>)> = indices.collect();
                cached_batch(cache, &rows, *text_rows, noise, device)
            }
            Self::Models(encoding) => {
                let captions = rows.iter().map(|(_, caption)| caption.as_ref());
                let captions: Vec<&str> = captions
                    .map(|caption| caption.map_or("", |caption| caption.text.as_str()))
                    .collect();
                let rows: Vec<&DataRow> = rows.iter().map(|(row, _)| *row).collect();
                encoding.rows(&rows, &captions, noise)
            }
        }
    }
}

/// Images of batches.
#[derive(Clone)]
enum Images<B: Backend> {
    Drawn(Arc<Drawing>, Box<Encoding<B>>),
    Read(TrainingData, Encoder<B>),
}

/// Batches of images for flow matching.
#[derive(Clone)]
pub struct FlowSource<B: Backend> {
    images: Images<B>,
    timesteps: TimestepDistribution,
    prompt_dropout: f32,
    seed: u64,
}

impl<B: Backend> FlowSource<B> {
    /// Creates the source of a run.
    ///
    /// # Errors
    /// Returns an error if nothing can be drawn with the settings.
    pub fn new(resolved: &Resolved, images: FlowImages<B>) -> Result<Self> {
        let images = match images {
            FlowImages::Read(data, encoder) => Images::Read(data, encoder),
            FlowImages::Drawn(encoding) => {
                Images::Drawn(Arc::new(Drawing::of_training(resolved)?), encoding)
            }
        };
        Ok(Self {
            images,
            timesteps: resolved.timestep_distribution()?,
            prompt_dropout: resolved.prompt_dropout,
            seed: resolved.seed,
        })
    }
}

impl<B: Backend> BatchSource for FlowSource<B> {
    type Batch = ImageBatch<B>;

    fn batch(&mut self, number: u64) -> Result<ImageBatch<B>> {
        let seed = self.seed;
        let generator = |purpose| NoiseGenerator::from_seed(seed_for(seed, purpose, number));
        let (mut dropout, share) = (generator("dropout"), self.prompt_dropout);
        let mut is_dropped = || dropout.uniform() < share;
        let noise = seed_for(seed, "noise", number);
        let mut batch = match &mut self.images {
            Images::Drawn(drawing, encoding) => {
                let samples = drawing.batch(number)?;
                let captions = samples.iter().map(|sample| {
                    if is_dropped() {
                        ""
                    } else {
                        sample.captions.english.as_str()
                    }
                });
                let captions: Vec<&str> = captions.collect();
                encoding.batch(&samples, &captions, Vec::new(), noise)?
            }
            Images::Read(data, encoder) => {
                let rows = data.batch(number).into_iter();
                let rows = rows.map(|(row, caption)| (row, (!is_dropped()).then_some(caption)));
                let rows: Vec<(&DataRow, Option<ChosenCaption>)> = rows.collect();
                encoder.batch(&rows, noise)?
            }
        };
        let tokens = batch.grid[0] * batch.grid[1];
        let count = batch.latents.dims()[0];
        batch.timesteps = self
            .timesteps
            .draw(count, tokens, &mut generator("timesteps"));
        Ok(batch)
    }
}
