//! Data of a run that is read, not drawn: its rows, those held out, and the schedule of batches.

mod check;
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
use crate::training_data::{DataError, DataRow, Reading, read_manifest};
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
    batch_size: usize,
    seed: u64,
}

impl TrainingData {
    /// Reads the data that the settings name, and checks what requires no model.
    ///
    /// # Errors
    /// Returns an error that names the row, image or bucket that cannot be used.
    pub fn open(resolved: &Resolved) -> Result<Option<Self>> {
        let Some(path) = &resolved.data else {
            return Ok(None);
        };
        if is_cache(path) {
            if !resolved.sizes.is_empty() {
                bail!(UsageError::new(
                    "a cache has the sizes that it was made with: leave out --sizes, or run `dataset cache` with it"
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
        let schedule = Schedule::new(&rows, &training, resolved.batch_size, resolved.seed);
        Ok(Self {
            schedule: schedule.ok_or(DataError::NoWeight)?,
            rows: Arc::new(rows),
            cache: None,
            held_out: Arc::new(held_out),
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
        }
        let bytes = hash.finalize();
        bytes
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect()
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

    /// Returns the rows of a batch, which are of one bucket, each with an index of its captions:
    /// each language that the row has is as likely.
    pub fn batch(&mut self, number: u64) -> Vec<(&DataRow, usize)> {
        let seed = seed_for(self.seed, "caption", number);
        let mut generator = NoiseGenerator::from_seed(seed);
        let rows = self.schedule.batch(number).into_iter();
        rows.map(|row| {
            let row = &self.rows[row];
            let count = row.captions.len();
            let caption = (generator.uniform() * count as f32) as usize;
            (row, caption.min(count.saturating_sub(1)))
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
            self.rows.iter().collect()
        } else {
            held_out
        };
        let captions = rows.iter().filter_map(|row| row.captions.first());
        captions.map(|(_, text)| text.clone()).take(count).collect()
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
            name: format!("{number}.png"),
            image: format!("{number}.png").into(),
            frame: Frame::whole([16 + 16 * (number as u32 % 2), 16]),
            captions: vec![
                (CaptionLanguage::En, format!("en {number}")),
                (CaptionLanguage::Zh, format!("zh {number}")),
            ],
            weight: 1.0,
            encodings: None,
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
            languages.extend(rows.iter().map(|(_, caption)| *caption));
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
    fn the_hash_follows_the_rows() {
        let hash = data(50, 0.1).hash();
        assert_eq!(hash, data(50, 0.5).hash());
        assert_ne!(hash, data(49, 0.1).hash());
    }
}
