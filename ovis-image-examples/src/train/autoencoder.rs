//! Training stage of the autoencoder: the VAE, on images.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use burn::backend::Autodiff;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};
use image::{Rgb, RgbImage};
use ovis_image::Layout;
use ovis_image::checkpoint::ExportOptions;
use ovis_image::config::VaeConfig;
use ovis_image::sampling::NoiseGenerator;
use ovis_image::training::{Autoencoding, Objective, PixelBatch, TrainedParts};
use ovis_image::vae::AutoencoderKl;
use serde_json::{Map, Value, json};

use super::data::TrainingData;
use super::drawing::{Drawing, grid, pixels};
use super::encoding::images_of;
use super::models::Source;
use super::queue::BatchSource;
use super::random::seed_for;
use super::resolved::Resolved;
use super::stage::Stage;
use crate::training_data::DataRow;

/// Images of batches.
#[derive(Clone)]
enum Images {
    Drawn(Arc<Drawing>),
    Read(TrainingData),
}

impl Images {
    fn batch(&mut self, number: u64) -> Result<Vec<RgbImage>> {
        match self {
            Self::Drawn(drawing) => {
                let samples = drawing.batch(number)?.into_iter();
                Ok(samples.map(|sample| sample.image).collect())
            }
            Self::Read(data) => {
                let rows = data.batch(number).into_iter();
                let rows: Vec<&DataRow> = rows.map(|(row, _)| row).collect();
                images_of(&rows)
            }
        }
    }
}

/// Batches of images for an autoencoder.
#[derive(Clone)]
pub struct PixelSource<B: Backend> {
    images: Images,
    vae_config: VaeConfig,
    seed: u64,
    device: B::Device,
}

impl<B: Backend> PixelSource<B> {
    /// Creates the source of a run, of data that is read or else of drawn images.
    ///
    /// # Errors
    /// Returns an error if nothing can be drawn with the settings.
    pub fn new(
        resolved: &Resolved,
        data: Option<&TrainingData>,
        vae_config: &VaeConfig,
        device: &B::Device,
    ) -> Result<Self> {
        let images = match data {
            Some(data) => Images::Read(data.clone()),
            None => Images::Drawn(Arc::new(Drawing::of_training(resolved)?)),
        };
        Ok(Self {
            images,
            vae_config: vae_config.clone(),
            seed: resolved.seed,
            device: device.clone(),
        })
    }
}

impl<B: Backend> BatchSource for PixelSource<B> {
    type Batch = PixelBatch<B>;

    fn batch(&mut self, number: u64) -> Result<PixelBatch<B>> {
        let images = self.images.batch(number)?;
        let seed = seed_for(self.seed, "noise", number);
        Ok(pixel_batch(&images, &self.vae_config, seed, &self.device))
    }
}

fn pixel_batch<B: Backend>(
    images: &[RgbImage],
    config: &VaeConfig,
    seed: u64,
    device: &B::Device,
) -> PixelBatch<B> {
    let pixels = pixels::<B>(images, device);
    let [count, _, height, width] = pixels.dims();
    let factor = config.scale_factor();
    let shape = [
        count,
        config.latent_channels,
        height / factor,
        width / factor,
    ];
    let noise = NoiseGenerator::from_seed(seed).randn(shape.iter().product());
    let noise = Tensor::from_data(TensorData::new(noise, shape), (device, DType::F32));
    PixelBatch { pixels, noise }
}

/// Training stage of the autoencoder.
pub struct AutoencoderStage<B: Backend> {
    resolved: Resolved,
    base: Source,
    validation: Vec<PixelBatch<B>>,
    data: Option<TrainingData>,
    device: B::Device,
}

/// Maximum number of images in a sample, each with its reconstruction.
const SHOWN: usize = 16;

impl<B: Backend> AutoencoderStage<B> {
    /// Creates the stage, and draws or reads the held-out images.
    ///
    /// # Errors
    /// Returns an error if they cannot be drawn or read.
    pub fn new(
        resolved: &Resolved,
        data: Option<&TrainingData>,
        base: Source,
        device: &B::Device,
    ) -> Result<Self> {
        let count = resolved.validation_images;
        let parts: Vec<Vec<RgbImage>> = match data {
            Some(data) => {
                let parts = data.validation(count);
                parts
                    .iter()
                    .map(|rows| images_of(rows))
                    .collect::<Result<_>>()?
            }
            None => {
                let samples = Drawing::held_out(resolved)?.images(count)?.into_iter();
                let images: Vec<RgbImage> = samples.map(|sample| sample.image).collect();
                let parts = images.chunks(resolved.batch_size);
                parts.map(<[_]>::to_vec).collect()
            }
        };
        let validation = parts.iter().enumerate().map(|(number, images)| {
            let seed = seed_for(resolved.seed, "validation", number as u64);
            pixel_batch(images, &base.vae_config, seed, device)
        });
        Ok(Self {
            resolved: resolved.clone(),
            validation: validation.collect(),
            data: data.cloned(),
            base,
            device: device.clone(),
        })
    }

    /// Encodes and decodes pixels, without noise.
    fn reconstructed(model: &AutoencoderKl<B>, pixels: Tensor<B, 4>) -> Tensor<B, 4> {
        let latents = model.scale(model.encode(pixels).mean);
        model.decode(latents).clamp(-1.0, 1.0)
    }

    /// Returns the configuration that gives scaled latents of the images mean 0 and deviation 1, or
    /// the present one if the encoder does not change.
    fn measured_config(&self, model: &AutoencoderKl<B>) -> Result<VaeConfig> {
        if !self.resolved.train_encoder {
            return Ok(self.base.vae_config.clone());
        }
        let mut measured = match &self.data {
            Some(data) => Images::Read(data.clone()),
            None => Images::Drawn(Arc::new(Drawing::of_last_phase(&self.resolved)?)),
        };
        let batches = self
            .resolved
            .latent_images
            .div_ceil(self.resolved.batch_size);
        let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
        for number in 0..batches as u64 {
            let images = measured.batch(number)?;
            let latents = model.encode(pixels::<B>(&images, &self.device)).mean;
            for value in latents.into_data().iter::<f64>() {
                sum += value;
                squares += value * value;
                count += 1.0;
            }
        }
        if count == 0.0 {
            return Ok(self.base.vae_config.clone());
        }
        let mean = sum / count;
        let deviation = (squares / count - mean * mean).max(1e-12).sqrt();
        let mut config = self.base.vae_config.clone();
        config.scaling_factor = 1.0 / deviation;
        config.shift_factor = Some(mean);
        Ok(config)
    }
}

impl<B: Backend> Stage<B> for AutoencoderStage<B> {
    type Objective = Autoencoding;

    fn images_of(&self, batch: &PixelBatch<B>) -> usize {
        batch.pixels.dims()[0]
    }

    fn before_batch(&self, _: &mut Autoencoding, _: u64) {}

    fn validate(
        &self,
        objective: &Autoencoding,
        model: &AutoencoderKl<B>,
    ) -> Result<Map<String, Value>> {
        let mut line = Map::new();
        let (mut images, mut squares, mut values) = (0.0, 0.0, 0.0);
        let mut sums: std::collections::BTreeMap<&str, f64> = Default::default();
        for batch in &self.validation {
            let pixels = batch.pixels.clone();
            let count = pixels.dims()[0] as f64;
            let terms = Objective::<Autodiff<B>>::loss(objective, model, batch.clone())?;
            for (name, value) in &terms.0 {
                *sums.entry(name).or_default() += value * count;
            }
            let error = Self::reconstructed(model, pixels.clone()) - pixels;
            values += error.shape().num_elements() as f64;
            let squared = (error.clone() * error).sum().into_data();
            squares += squared.iter::<f64>().sum::<f64>();
            images += count;
        }
        if images == 0.0 {
            return Ok(line);
        }
        for (name, sum) in sums {
            // The key `loss` is that of training steps.
            let name = if name == "loss" { "validation" } else { name };
            line.insert(name.to_owned(), json!(sum / images));
        }
        // Pixels are from -1 to 1, so the largest difference is 2.
        let psnr = 10.0 * (4.0 * values / squares.max(1e-12)).log10();
        line.insert("psnr".to_owned(), json!(psnr));
        Ok(line)
    }

    fn sample(&self, model: &AutoencoderKl<B>) -> Result<Option<RgbImage>> {
        let Some(batch) = self.validation.first() else {
            return Ok(None);
        };
        let count = batch.pixels.dims()[0].min(SHOWN);
        let originals = batch.pixels.clone().narrow(0, 0, count);
        let reconstructed = Self::reconstructed(model, originals.clone());
        let (originals, reconstructed) = (images(originals), images(reconstructed));
        let pairs = originals.into_iter().zip(reconstructed);
        let all: Vec<RgbImage> = pairs.flat_map(|(a, b)| [a, b]).collect();
        Ok(grid(&all, 8))
    }

    fn export(&self, model: &AutoencoderKl<B>, folder: &Path) -> Result<()> {
        let config = self.measured_config(model)?;
        let parts = TrainedParts {
            vae: Some((model, &config)),
            ..TrainedParts::default()
        };
        parts.export(
            &self.base.paths,
            folder,
            &ExportOptions::new(Layout::Diffusers),
        )?;
        Ok(())
    }
}

/// Converts pixels in -1..1 to images.
fn images<B: Backend>(pixels: Tensor<B, 4>) -> Vec<RgbImage> {
    let [_, _, height, width] = pixels.dims();
    let values: Vec<f32> = pixels.into_data().iter::<f32>().collect();
    let area = height * width;
    let level = |value: f32| ((value + 1.0) * 127.5).round_ties_even() as u8;
    let image = |planes: &[f32]| {
        RgbImage::from_fn(width as u32, height as u32, |x, y| {
            let at = y as usize * width + x as usize;
            Rgb([
                level(planes[at]),
                level(planes[area + at]),
                level(planes[2 * area + at]),
            ])
        })
    };
    values.chunks_exact(3 * area).map(image).collect()
}
