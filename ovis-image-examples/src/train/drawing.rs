//! Images drawn for training, validation and samples. The run's seed and the number of a batch
//! determine its images.

use anyhow::Result;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};
use image::RgbImage;
use image::imageops::replace;

use super::random::seed_for;
use super::resolved::Resolved;
use super::settings::CurriculumEntry;
use crate::typography::{Fonts, Preset, Split, SyntheticTypography, TypographySample};

/// Draws the images of batches.
pub struct Drawing {
    seed: u64,
    batch_size: u64,
    phases: Vec<Phase>,
}

/// Entry of the curriculum with a source for each size.
struct Phase {
    until_images: u64,
    sources: Vec<SyntheticTypography>,
}

impl Drawing {
    /// Creates the source of the training images.
    ///
    /// # Errors
    /// Returns an error if the preset, a font or a range is wrong.
    pub fn of_training(resolved: &Resolved) -> Result<Self> {
        Self::new(resolved, &resolved.curriculum, "training", Split::Train)
    }

    /// Creates the source of a run's last phase, with other images than those trained on.
    ///
    /// # Errors
    /// Returns the errors of [`of_training`](Self::of_training).
    pub fn of_last_phase(resolved: &Resolved) -> Result<Self> {
        let last = resolved.curriculum.last().cloned();
        let last: Vec<CurriculumEntry> = last.into_iter().collect();
        Self::new(resolved, &last, "measured", Split::Train)
    }

    /// Creates the source of held-out texts.
    ///
    /// # Errors
    /// Returns the errors of [`of_training`](Self::of_training).
    pub fn held_out(resolved: &Resolved) -> Result<Self> {
        let range = |values: &[usize]| Some([*values.first()?, *values.last()?]);
        let fonts = resolved.curriculum.last().map(|entry| entry.fonts.clone());
        let entry = CurriculumEntry {
            until_images: None,
            characters: range(&resolved.validation_characters),
            lines: range(&resolved.validation_lines),
            fonts: fonts.unwrap_or_default(),
        };
        Self::new(resolved, &[entry], "held out", Split::HeldOut)
    }

    fn new(
        resolved: &Resolved,
        curriculum: &[CurriculumEntry],
        purpose: &str,
        split: Split,
    ) -> Result<Self> {
        let buckets = resolved.buckets()?;
        let whole = [CurriculumEntry {
            until_images: None,
            characters: None,
            lines: None,
            fonts: Vec::new(),
        }];
        let entries = if curriculum.is_empty() {
            &whole
        } else {
            curriculum
        };
        let phase = |entry: &CurriculumEntry| -> Result<Phase> {
            let sources = buckets
                .iter()
                .map(|size| source(resolved, entry, *size, split));
            Ok(Phase {
                until_images: entry.until_images.unwrap_or(u64::MAX),
                sources: sources.collect::<Result<_>>()?,
            })
        };
        Ok(Self {
            seed: seed_for(resolved.seed, purpose, 0),
            batch_size: resolved.batch_size as u64,
            phases: entries.iter().map(phase).collect::<Result<_>>()?,
        })
    }

    /// Draws the images of a batch, all of one size.
    ///
    /// # Errors
    /// Returns an error if an image cannot be drawn.
    pub fn batch(&self, number: u64) -> Result<Vec<TypographySample>> {
        let first = number.saturating_mul(self.batch_size);
        let bucket = seed_for(self.seed, "bucket", number);
        (first..first.saturating_add(self.batch_size))
            .map(|index| self.sample(first, bucket, index))
            .collect()
    }

    /// Draws images of the first size.
    ///
    /// # Errors
    /// Returns an error if an image cannot be drawn.
    pub fn images(&self, count: usize) -> Result<Vec<TypographySample>> {
        (0..count as u64)
            .map(|index| self.sample(index, 0, index))
            .collect()
    }

    fn sample(&self, images: u64, bucket: u64, index: u64) -> Result<TypographySample> {
        let phase = self.phases.iter().find(|phase| images < phase.until_images);
        // After the last phase, it goes on.
        let phase = phase.or(self.phases.last());
        let sources = phase.map_or(&[][..], |phase| &phase.sources);
        let source = sources.get((bucket % sources.len().max(1) as u64) as usize);
        let source = source.ok_or(super::error::TrainError::EmptyBucket)?;
        Ok(source.sample(self.seed, index)?)
    }
}

fn source(
    resolved: &Resolved,
    entry: &CurriculumEntry,
    [width, height]: [u32; 2],
    split: Split,
) -> Result<SyntheticTypography> {
    let (preset, _) = Preset::open(&resolved.preset)?;
    let mut source = SyntheticTypography::new(preset, Fonts::embedded())
        .with_size(width, height)?
        .with_split(split);
    if let Some([least, most]) = entry.characters {
        source = source.with_characters(least..=most)?;
    }
    if let Some([least, most]) = entry.lines {
        source = source.with_lines(least..=most)?;
    }
    let fonts = if entry.fonts.is_empty() {
        &resolved.fonts
    } else {
        &entry.fonts
    };
    if fonts.is_empty() {
        return Ok(source);
    }
    Ok(source.with_fonts(fonts)?)
}

/// Converts images of one size to a tensor, `[images, 3, height, width]` in -1..1.
pub(super) fn pixels<'a, B: Backend>(
    images: impl IntoIterator<Item = &'a RgbImage>,
    device: &B::Device,
) -> Tensor<B, 4> {
    let mut values = Vec::new();
    let (mut count, mut size) = (0, (0, 0));
    for image in images {
        (count, size) = (count + 1, image.dimensions());
        for channel in 0..3 {
            let level = |pixel: &image::Rgb<u8>| f32::from(pixel[channel]) / 127.5 - 1.0;
            values.extend(image.pixels().map(level));
        }
    }
    let shape = [count, 3, size.1 as usize, size.0 as usize];
    Tensor::from_data(TensorData::new(values, shape), (device, DType::F32))
}

/// Space between the images of a grid, in pixels.
const GAP: u32 = 4;

/// Arranges images of one size in rows.
pub(super) fn grid(images: &[RgbImage], columns: usize) -> Option<RgbImage> {
    let (width, height) = images.first()?.dimensions();
    let columns = columns.clamp(1, images.len());
    let rows = images.len().div_ceil(columns);
    let side = |count: usize, side: u32| count as u32 * (side + GAP) - GAP;
    let white = image::Rgb([255, 255, 255]);
    let mut sheet = RgbImage::from_pixel(side(columns, width), side(rows, height), white);
    for (index, image) in images.iter().enumerate() {
        let place = |index: usize, side: u32| i64::from(index as u32 * (side + GAP));
        let (x, y) = (
            place(index % columns, width),
            place(index / columns, height),
        );
        replace(&mut sheet, image, x, y);
    }
    Some(sheet)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved() -> Resolved {
        let entry = |until, most| CurriculumEntry {
            until_images: until,
            characters: Some([1, most]),
            lines: Some([1, 1]),
            fonts: vec!["DejaVu Sans Bold".to_owned()],
        };
        Resolved {
            batch_size: 4,
            sizes: vec!["64x64".into(), "64x32".into()],
            curriculum: vec![entry(Some(8), 1), entry(None, 4)],
            ..Resolved::default()
        }
    }

    #[test]
    fn a_batch_has_one_size_and_depends_on_its_number_alone() {
        let drawing = Drawing::of_training(&resolved()).unwrap();
        let mut sizes = std::collections::BTreeSet::new();
        for number in [5, 0, 1, 7, 9] {
            let batch = drawing.batch(number).unwrap();
            let size = batch[0].image.dimensions();
            assert!(batch.iter().all(|sample| sample.image.dimensions() == size));
            assert_eq!(batch, drawing.batch(number).unwrap());
            sizes.insert(size);
        }
        assert_eq!(sizes.len(), 2);
    }

    #[test]
    fn the_curriculum_decides_how_long_texts_are() {
        let drawing = Drawing::of_training(&resolved()).unwrap();
        let longest = |numbers: std::ops::Range<u64>| {
            let batches = numbers.flat_map(|number| drawing.batch(number).unwrap());
            batches.map(|sample| sample.text().len()).max().unwrap()
        };
        assert!(
            longest(0..2) <= 2 && longest(2..8) >= 3,
            "{} {}",
            longest(0..2),
            longest(2..8)
        );
    }

    #[test]
    fn held_out_images_are_others_and_pixels_are_from_minus_one_to_one() {
        let held_out = Drawing::held_out(&resolved()).unwrap().images(3).unwrap();
        assert!(held_out.iter().all(|sample| sample.text().len() >= 3));
        let images = held_out.iter().map(|sample| &sample.image);
        let pixels = pixels::<burn_flex::Flex>(images, &burn_flex::FlexDevice);
        assert_eq!(pixels.dims(), [3, 3, 64, 64]);
        let data = pixels.into_data();
        assert!(
            data.iter::<f32>()
                .all(|value| (-1.0..=1.0).contains(&value))
        );
        let images: Vec<RgbImage> = held_out.into_iter().map(|sample| sample.image).collect();
        assert_eq!(grid(&images, 2).unwrap().dimensions(), (132, 132));
    }
}
