//! Data of a run that is read, not drawn: its rows, those held out, and the schedule of batches.

mod check;
mod folders;
mod held_out;
mod schedule;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Result, bail};
use ovis_image::sampling::NoiseGenerator;
use sha2::{Digest, Sha256};

use super::error::TrainError;
use super::random::seed_for;
use super::resolved::Resolved;
use super::settings::StageKind;
use crate::shared::terminal::say;
use crate::shared::usage::UsageError;
use crate::training_data::cache::{Cache, is_cache};
use crate::training_data::folders::TagChanges;
use crate::training_data::{DataError, DataRow, Mask, Reading, read_manifest};
use held_out::{Share, split};
use schedule::Schedule;

/// Rows of a run, with the schedule of its batches. The run's seed and the number of a batch
/// determine its rows and captions. Clones share the rows.
#[derive(Debug, Clone)]
pub struct TrainingData {
    rows: Arc<Vec<DataRow>>,
    /// Cache of the rows' encodings; `None` if their images are read.
    cache: Option<Arc<Cache>>,
    held_out: Arc<Vec<usize>>,
    schedule: Schedule,
    tag_changes: TagChanges,
    encodes_first: bool,
    images_per_epoch: f64,
    batch_size: usize,
    seed: u64,
}

/// Caption of a row in a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChosenCaption {
    /// Index among the captions of the row.
    pub index: usize,
    /// The caption, with its tags changed.
    pub text: String,
}

impl ChosenCaption {
    /// Returns the first caption of a row, as it is.
    pub fn first(row: &DataRow) -> Self {
        Self {
            index: 0,
            text: row.caption(0).to_owned(),
        }
    }
}

impl TrainingData {
    /// Reads the data that the settings name, and checks what requires no model.
    ///
    /// # Errors
    /// Returns an error that names the row, image or bucket that cannot be used.
    pub fn open(resolved: &Resolved) -> Result<Option<Self>> {
        if !resolved.images.is_empty() {
            let rows = folders::read(resolved)?;
            return Ok(Some(Self::new(rows, resolved)?));
        }
        let Some(path) = &resolved.data else {
            return Ok(None);
        };
        if is_cache(path) {
            if !resolved.sizes.is_empty() {
                bail!(UsageError::new(
                    "--sizes cannot be used with a cache, which has sizes of its own: run `dataset cache` \
                     with --sizes"
                ));
            }
            let (cache, rows) = Cache::open(path, &resolved.languages)?;
            let cache = Some(Arc::new(cache));
            return Ok(Some(Self {
                cache,
                ..Self::new(rows, resolved)?
            }));
        }
        let reading = Reading {
            sizes: &resolved.buckets()?,
            languages: &resolved.languages,
            needs_captions: resolved.stage == StageKind::Flow,
            needs_images: true,
        };
        let rows = read_manifest(path, &reading)?;
        Ok(Some(Self::new(rows, resolved)?))
    }

    fn new(mut rows: Vec<DataRow>, resolved: &Resolved) -> Result<Self, DataError> {
        warn_of_buckets_without_weight(&rows);
        rows.retain(|row| row.weight > 0.0);
        let Share { training, held_out } =
            split(&rows, resolved.validation_share.unwrap_or_default())?;
        balance(&mut rows, &training);
        let images_per_epoch = training.iter().map(|row| rows[*row].weight).sum();
        let schedule = Schedule::new(&rows, &training, resolved.batch_size, resolved.seed);
        Ok(Self {
            schedule: schedule.ok_or(DataError::NoWeight)?,
            rows: Arc::new(rows),
            cache: None,
            held_out: Arc::new(held_out),
            tag_changes: resolved.tag_changes(),
            encodes_first: resolved.encodes_first(),
            images_per_epoch,
            batch_size: resolved.batch_size,
            seed: resolved.seed,
        })
    }

    /// Returns the buckets with their shares of the batches, the largest share first.
    pub fn buckets(&self) -> Vec<([u32; 2], f64)> {
        let mut buckets: Vec<_> = self.schedule.shares().collect();
        buckets.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        buckets
    }

    /// Returns a hash of everything about the rows that decides what a run computes, except the
    /// contents of the images.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        for row in self.rows.iter() {
            let captions = row.captions.iter();
            let captions: Vec<String> = captions
                .map(|(language, text)| format!("{language}: {text}"))
                .collect();
            let line = format!("{:?}\n", (&row.name, row.frame, row.weight, captions));
            hash.update(line.as_bytes());
            if row.loss_weight != 1.0 || row.mask != Mask::Whole {
                let masked = row.mask != Mask::Whole;
                hash.update(format!("{:?}\n", (row.loss_weight, masked)).as_bytes());
            }
        }
        let bytes = hash.finalize();
        bytes
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// Returns all rows.
    pub fn rows(&self) -> &[DataRow] {
        &self.rows
    }

    /// Returns true if all rows are encoded before the first step.
    pub fn encodes_first(&self) -> bool {
        self.encodes_first
    }

    /// Returns the number of images in a pass over the rows, repeats and regularization images
    /// included.
    pub fn images_per_epoch(&self) -> f64 {
        self.images_per_epoch
    }

    /// Returns the cache of the rows' encodings, if there is one.
    pub fn cache(&self) -> Option<&Arc<Cache>> {
        self.cache.as_ref()
    }

    /// Checks that all captions fit a number of text rows. Those that are not cached are checked
    /// one by one.
    ///
    /// # Errors
    /// Returns the error of a caption.
    pub fn check_captions(&self, most: usize, check: impl Fn(&str) -> Result<()>) -> Result<()> {
        for row in self.rows.iter() {
            for (index, (_, caption)) in row.captions.iter().enumerate() {
                let Some(cache) = &self.cache else {
                    check(caption)?;
                    continue;
                };
                let rows = cache.text_rows(row.embedding_key(index));
                if rows > most {
                    bail!(TrainError::LongCaption {
                        rows: most,
                        over: rows - most,
                        caption: caption.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Returns the rows of a batch, which are of one bucket, each with one of its captions: each
    /// language that the row has is as likely.
    pub fn batch(&mut self, number: u64) -> Vec<(&DataRow, ChosenCaption)> {
        let seed = seed_for(self.seed, "caption", number);
        let mut generator = NoiseGenerator::from_seed(seed);
        let rows = self.schedule.batch(number).into_iter();
        rows.map(|row| {
            let row = &self.rows[row];
            let count = row.captions.len();
            let index = (generator.uniform() * count as f32) as usize;
            let index = index.min(count.saturating_sub(1));
            let text = self.tag_changes.apply(row.caption(index), &mut generator);
            (row, ChosenCaption { index, text })
        })
        .collect()
    }

    /// Returns at most `count` held-out rows in batches, each of one bucket.
    pub fn validation(&self, count: usize) -> Vec<Vec<&DataRow>> {
        let mut rows: Vec<&DataRow> = self.held_out.iter().map(|row| &self.rows[*row]).collect();
        rows.truncate(count);
        rows.sort_by_key(|row| row.frame.bucket);
        let buckets = rows.chunk_by(|a, b| a.frame.bucket == b.frame.bucket);
        buckets
            .flat_map(|bucket| bucket.chunks(self.batch_size))
            .map(<[_]>::to_vec)
            .collect()
    }

    /// Returns captions to draw samples from: of held-out rows, or of all rows if none are held
    /// out.
    pub fn prompts(&self, count: usize) -> Vec<String> {
        let held_out: Vec<&DataRow> = self.held_out.iter().map(|row| &self.rows[*row]).collect();
        let rows = if held_out.is_empty() {
            self.rows.iter().filter(|row| !row.is_prior).collect()
        } else {
            held_out
        };
        let captions = rows.iter().filter_map(|row| row.captions.first());
        captions.map(|(_, text)| text.clone()).take(count).collect()
    }
}

/// Gives all regularization images together the weight of all other images.
fn balance(rows: &mut [DataRow], training: &[usize]) {
    let weight = |prior: bool| -> f64 {
        let rows = training.iter().map(|row| &rows[*row]);
        let rows = rows.filter(|row| row.is_prior == prior);
        rows.map(|row| row.weight).sum()
    };
    let (others, prior) = (weight(false), weight(true));
    if prior > 0.0 {
        let rows = rows.iter_mut().filter(|row| row.is_prior);
        rows.for_each(|row| row.weight *= others / prior);
    }
}

/// Warns of buckets of which no image is ever drawn.
fn warn_of_buckets_without_weight(rows: &[DataRow]) {
    let mut drawn: BTreeMap<[u32; 2], bool> = BTreeMap::new();
    for row in rows {
        *drawn.entry(row.frame.bucket).or_default() |= row.weight > 0.0;
    }
    for ([width, height], _) in drawn.into_iter().filter(|(_, drawn)| !drawn) {
        say(&format!(
            "warning: all images of the bucket {width}x{height} have the weight 0: none is trained on"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training_data::{CaptionLanguage, Frame};

    fn data(count: usize, share: f64) -> TrainingData {
        let row = |number: usize| DataRow {
            captions: vec![
                (CaptionLanguage::En, format!("en {number}")),
                (CaptionLanguage::Zh, format!("zh {number}")),
            ],
            ..DataRow::new(
                format!("{number}.png"),
                format!("{number}.png").into(),
                Frame::whole([16 + 16 * (number as u32 % 2), 16]),
            )
        };
        let resolved = Resolved {
            batch_size: 4,
            validation_share: Some(share),
            ..Resolved::default()
        };
        TrainingData::new((0..count).map(row).collect(), &resolved).unwrap()
    }

    #[test]
    fn rows_and_captions_depend_on_the_number_of_a_batch_alone() {
        let mut whole = data(50, 0.1);
        let mut languages = std::collections::BTreeSet::new();
        for number in [9, 3, 4, 0, 30] {
            let mut other = data(50, 0.1);
            let rows = other.batch(number);
            assert_eq!(rows, whole.batch(number));
            languages.extend(rows.iter().map(|(_, caption)| caption.index));
        }
        assert_eq!(languages.len(), 2);
    }

    #[test]
    fn held_out_rows_are_never_trained_on() {
        let mut data = data(50, 0.1);
        let held_out: Vec<String> = data
            .validation(1000)
            .into_iter()
            .flat_map(|batch| {
                assert!(batch.len() <= 4);
                let bucket = batch[0].frame.bucket;
                assert!(batch.iter().all(|row| row.frame.bucket == bucket));
                batch
            })
            .map(|row| row.name.clone())
            .collect();
        assert!((1..15).contains(&held_out.len()), "{}", held_out.len());
        assert_eq!(data.validation(1).concat().len(), 1);
        assert!(data.prompts(1)[0].starts_with("en "));
        for number in 0..60 {
            let batch = data.batch(number);
            assert!(batch.iter().all(|(row, _)| !held_out.contains(&row.name)));
        }
    }

    #[test]
    fn regularization_images_are_drawn_as_often_as_all_others() {
        let mut rows: Vec<DataRow> = data(40, 0.0).rows().to_vec();
        for row in &mut rows[30..] {
            row.is_prior = true;
        }
        let resolved = Resolved {
            batch_size: 4,
            validation_share: Some(0.1),
            ..Resolved::default()
        };
        let mut data = TrainingData::new(rows, &resolved).unwrap();
        let held_out = data.validation(100).concat().len();
        let expected = 2.0 * (30 - held_out) as f64;
        assert!((data.images_per_epoch() / expected - 1.0).abs() < 1e-12);
        let batches = (0..300).flat_map(|number| {
            let rows = data.batch(number).into_iter();
            rows.map(|(row, _)| row.is_prior).collect::<Vec<_>>()
        });
        let prior = batches.filter(|is_prior| *is_prior).count();
        assert!((570..630).contains(&prior), "{prior} of 1200");
        assert!(data.prompts(100).len() <= 30);
    }

    #[test]
    fn the_hash_follows_the_rows() {
        let hash = data(50, 0.1).hash();
        assert_eq!(hash, data(50, 0.5).hash());
        assert_ne!(hash, data(49, 0.1).hash());
    }
}
