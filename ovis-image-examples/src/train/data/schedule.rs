//! Which rows a batch has: a function of the run's seed and the number of the batch.
//!
//! Buckets take turns by a golden-ratio sequence, so that each has its share of the batches of
//! every stretch of a run. The batches of a bucket follow one another through a list that never
//! ends: pass after pass over its rows, each pass in another order. In pass `p` a row of relative
//! weight `w` appears `floor((p + 1) w + o) - floor(p w + o)` times, with an offset `o` of its own:
//! once for a weight of 1, and over many passes in proportion to any weight. A batch that reaches
//! the end of a pass goes on with the next one, so no row is left out and none is filled in.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::train::random::seed_for;
use crate::training_data::DataRow;

/// 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Smallest weight relative to the mean: with less, no number of passes could be counted in which
/// a row appears.
const LEAST_WEIGHT: f64 = 1e-9;

/// Rows of one size.
#[derive(Debug)]
struct Bucket {
    size: [u32; 2],
    /// Indices of rows, with their weights relative to the mean of all rows, and their offsets.
    rows: Vec<(usize, f64, f64)>,
    /// Share of the batches.
    share: f64,
    /// End of its part of the numbers below 2^64.
    end: u64,
}

impl Bucket {
    /// Counts the places in the list before pass `pass`.
    fn before(&self, pass: u64) -> u64 {
        let rows = self.rows.iter();
        let counts = rows.map(|(_, weight, offset)| (pass as f64 * weight + offset) as u64);
        counts.fold(0, u64::saturating_add)
    }

    /// Finds the pass that has a place of the list.
    fn pass_at(&self, place: u64) -> u64 {
        let (mut low, mut high) = (0, 1_u64);
        while self.before(high) <= place {
            low = high;
            high = high.saturating_mul(2);
        }
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.before(middle) <= place {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }

    fn pass(&self, number: u64, seed: u64) -> Pass {
        let seed = seed_for(seed, "pass", number);
        let count = |weight: f64, offset: f64| {
            let at = |pass: u64| (pass as f64 * weight + offset) as u64;
            at(number + 1) - at(number)
        };
        let rows = self.rows.iter();
        let mut order: Vec<(u64, usize)> = rows
            .flat_map(|(row, weight, offset)| (0..count(*weight, *offset)).map(move |_| *row))
            .enumerate()
            .map(|(place, row)| (seed_for(seed, "order", place as u64), row))
            .collect();
        order.sort_unstable();
        Pass {
            first: self.before(number),
            rows: order.into_iter().map(|(_, row)| row).collect(),
        }
    }
}

/// Rows of one pass over a bucket, in their order.
#[derive(Debug, Clone)]
struct Pass {
    /// Places in the list before this pass.
    first: u64,
    rows: Vec<usize>,
}

/// Schedule of batches. What it remembers of earlier calls only saves time.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    buckets: Arc<Vec<Bucket>>,
    batch_size: u64,
    seed: u64,
    /// Number of the next batch, and how many batches before it each bucket has.
    next: u64,
    counts: Vec<u64>,
    passes: Vec<Option<Pass>>,
}

impl Schedule {
    /// Creates the schedule of some of the rows. Returns `None` if none of them has a weight.
    pub(super) fn new(
        rows: &[DataRow],
        training: &[usize],
        batch_size: usize,
        seed: u64,
    ) -> Option<Self> {
        let seed = seed_for(seed, "schedule", 0);
        let mut by_size: BTreeMap<[u32; 2], Vec<usize>> = BTreeMap::new();
        for row in training.iter().filter(|row| rows[**row].weight > 0.0) {
            let size = rows[*row].frame.bucket;
            by_size.entry(size).or_default().push(*row);
        }
        let weighted: Vec<usize> = by_size.values().flatten().copied().collect();
        let total: f64 = weighted.iter().map(|row| rows[*row].weight).sum();
        let mean = total / weighted.len().max(1) as f64;
        let mut end = 0.0;
        let buckets = by_size.into_iter().map(|(size, members)| {
            let weights = members.iter().map(|row| rows[*row].weight);
            let share = weights.sum::<f64>() / total;
            end += share;
            let member = |row: usize| {
                let offset = seed_for(seed, "offset", row as u64) >> 11;
                // Of 53 bits, a fraction below 1.
                let offset = offset as f64 / (1_u64 << 53) as f64;
                (row, (rows[row].weight / mean).max(LEAST_WEIGHT), offset)
            };
            Bucket {
                size,
                rows: members.into_iter().map(member).collect(),
                share,
                // Saturates at the last bucket.
                end: (end * 2.0_f64.powi(64)) as u64,
            }
        });
        let buckets: Vec<Bucket> = buckets.collect();
        (!buckets.is_empty()).then(|| Self {
            counts: vec![0; buckets.len()],
            passes: vec![None; buckets.len()],
            buckets: Arc::new(buckets),
            batch_size: batch_size as u64,
            seed,
            next: 0,
        })
    }

    /// Returns the sizes of buckets with their shares of the batches.
    pub(super) fn shares(&self) -> impl Iterator<Item = ([u32; 2], f64)> {
        let buckets = self.buckets.iter();
        buckets.map(|bucket| (bucket.size, bucket.share))
    }

    /// Returns the rows of a batch, all of one bucket.
    pub(super) fn batch(&mut self, number: u64) -> Vec<usize> {
        if number < self.next {
            self.next = 0;
            self.counts.fill(0);
        }
        while self.next < number {
            let bucket = self.bucket_of(self.next);
            self.counts[bucket] += 1;
            self.next += 1;
        }
        let bucket = self.bucket_of(number);
        let first = self.counts[bucket].saturating_mul(self.batch_size);
        let places = first..first.saturating_add(self.batch_size);
        places.map(|place| self.row_at(bucket, place)).collect()
    }

    fn bucket_of(&self, number: u64) -> usize {
        let point = self.seed.wrapping_add(number.wrapping_mul(GOLDEN));
        let found = self.buckets.iter().position(|bucket| point < bucket.end);
        found.unwrap_or(self.buckets.len() - 1)
    }

    fn row_at(&mut self, bucket: usize, place: u64) -> usize {
        let seed = seed_for(self.seed, "bucket", bucket as u64);
        loop {
            if let Some(pass) = &self.passes[bucket] {
                let within = place.checked_sub(pass.first);
                let row = within.and_then(|within| pass.rows.get(usize::try_from(within).ok()?));
                if let Some(row) = row {
                    return *row;
                }
            }
            let buckets = &self.buckets[bucket];
            self.passes[bucket] = Some(buckets.pass(buckets.pass_at(place), seed));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training_data::Frame;

    fn rows(weights: &[(u32, f64)]) -> Vec<DataRow> {
        let row = |(number, (side, weight)): (usize, &(u32, f64))| DataRow {
            weight: *weight,
            ..DataRow::new(
                number.to_string(),
                number.to_string().into(),
                Frame::whole([*side, 16]),
            )
        };
        weights.iter().enumerate().map(row).collect()
    }

    fn schedule(weights: &[(u32, f64)], batch_size: usize) -> Schedule {
        let all: Vec<usize> = (0..weights.len()).collect();
        Schedule::new(&rows(weights), &all, batch_size, 7).unwrap()
    }

    fn counts(schedule: &mut Schedule, batches: u64, rows: usize) -> Vec<u64> {
        let mut counts = vec![0; rows];
        for number in 0..batches {
            for row in schedule.batch(number) {
                counts[row] += 1;
            }
        }
        counts
    }

    #[test]
    fn every_row_is_drawn_once_before_any_is_drawn_again() {
        let weights = vec![(16, 1.0); 10];
        let mut schedule = schedule(&weights, 4);
        // Five batches are two passes.
        assert_eq!(counts(&mut schedule, 5, 10), [2; 10]);
        let seen: Vec<usize> = [0, 1].into_iter().flat_map(|n| schedule.batch(n)).collect();
        let different: std::collections::BTreeSet<_> = seen.iter().collect();
        assert_eq!(different.len(), 8);
        assert_ne!(seen, (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn small_buckets_have_their_share_and_batches_have_one_size() {
        let mut weights = vec![(16, 1.0); 97];
        weights.extend([(32, 1.0); 3]);
        let rows = rows(&weights);
        let mut schedule = schedule(&weights, 8);
        let mut small = 0;
        for number in 0..1000 {
            let batch = schedule.batch(number);
            let size = rows[batch[0]].frame.bucket;
            assert_eq!(batch.len(), 8);
            assert!(batch.iter().all(|row| rows[*row].frame.bucket == size));
            small += u32::from(size[0] == 32);
        }
        assert!((28..=32).contains(&small), "{small}");
    }

    #[test]
    fn weights_are_honored() {
        let weights = [(16, 1.0), (16, 0.25), (16, 3.0), (32, 0.75), (32, 0.0)];
        let counts = counts(&mut schedule(&weights, 4), 500, 5);
        for (count, (_, weight)) in counts.iter().zip(weights) {
            let expected = weight / 5.0 * 2000.0;
            assert!((*count as f64 - expected).abs() <= 12.0, "{counts:?}");
        }
        assert_eq!(counts[4], 0);
    }

    #[test]
    fn a_batch_depends_on_its_number_alone() {
        let weights: Vec<(u32, f64)> = (0..40)
            .map(|row| (16 + 16 * (row % 3), 0.1 + f64::from(row % 7)))
            .collect();
        let mut whole = schedule(&weights, 5);
        let all: Vec<Vec<usize>> = (0..200).map(|number| whole.batch(number)).collect();
        for number in [199, 0, 57, 58, 3] {
            assert_eq!(schedule(&weights, 5).batch(number), all[number as usize]);
            assert_eq!(whole.batch(number), all[number as usize]);
        }
    }

    #[test]
    fn extreme_weights_end() {
        let mut schedule = schedule(&[(16, 1e-12), (16, 1e12), (32, 1e-12)], 2);
        for number in [0, 1, 1_000_000] {
            assert_eq!(schedule.batch(number), [1, 1]);
        }
        let none = rows(&[(16, 0.0)]);
        assert!(Schedule::new(&none, &[0], 2, 0).is_none());
    }
}
