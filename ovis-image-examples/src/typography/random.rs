//! Random choices that depend on a seed, an index and a purpose, and on nothing else.

use sha2::{Digest, Sha256};

/// Random generator for one purpose in one sample. Every purpose has a separate generator, so that
/// a new wording of captions leaves all images as they were.
pub(super) struct Random(fastrand::Rng);

impl Random {
    pub(super) fn new(seed: u64, index: u64, purpose: &str, attempt: u32) -> Self {
        let key = format!("{seed} {index} {purpose} {attempt}");
        Self(fastrand::Rng::with_seed(first_eight_bytes(&key)))
    }

    /// Draws a number below `count`, which must not be 0.
    pub(super) fn below(&mut self, count: usize) -> usize {
        self.0.usize(0..count)
    }

    pub(super) fn choice<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() {
            return None;
        }
        Some(&items[self.below(items.len())])
    }

    /// Draws an integer of a range, both ends included.
    pub(super) fn integer(&mut self, [least, most]: [usize; 2]) -> usize {
        self.0.usize(least..=most.max(least))
    }

    /// Draws a number of a range.
    pub(super) fn number(&mut self, [least, most]: [f32; 2]) -> f32 {
        least + (most - least) * self.0.f32()
    }

    pub(super) fn chance(&mut self, probability: f32) -> bool {
        self.0.f32() < probability
    }

    /// Draws an index with the probabilities that the weights give. Returns `None` if all are 0.
    pub(super) fn weighted(&mut self, weights: impl Iterator<Item = f32> + Clone) -> Option<usize> {
        let total: f32 = weights.clone().sum();
        let mut rest = self.0.f32() * total;
        let mut last = None;
        for (index, weight) in weights.enumerate() {
            if weight > 0.0 {
                last = Some(index);
                if rest < weight {
                    break;
                }
                rest -= weight;
            }
        }
        last
    }

    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        self.0.shuffle(items);
    }
}

/// Returns a number that depends on the text alone, on every machine and in every version.
pub(super) fn first_eight_bytes(text: &str) -> u64 {
    let hash = Sha256::digest(text.as_bytes());
    hash.iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
