//! Perceptual hash, as `imagehash.phash` of Python computes it: 32x32 gray pixels, their cosine
//! transform, and a bit for each of the 8x8 lowest frequencies that is above the median.

use std::f64::consts::PI;

use super::resample::{Gray, resize};

const SIDE: usize = 32;
const LOW: usize = 8;

/// Bound below which a value counts as zero, to absorb rounding errors. Without it, the bits of
/// images that change in one direction only would be noise (and are, in Python).
const NOISE: f64 = 1e-6;

/// Computes the hash. The first bit is the highest.
pub(super) fn perceptual_hash(image: &Gray) -> u64 {
    let small = resize(image, SIDE, SIDE);
    let cosine = |frequency: usize, place: usize| {
        (PI * frequency as f64 * (2 * place + 1) as f64 / (2 * SIDE) as f64).cos()
    };
    let cosines: Vec<f64> = (0..LOW * SIDE)
        .map(|index| cosine(index / SIDE, index % SIDE))
        .collect();
    // Columns first: [LOW, SIDE].
    let mut columns = [0.0; LOW * SIDE];
    for (frequency, row) in columns.chunks_exact_mut(SIDE).enumerate() {
        for (x, value) in row.iter_mut().enumerate() {
            let products = (0..SIDE)
                .map(|y| f64::from(small.pixels[y * SIDE + x]) * cosines[frequency * SIDE + y]);
            *value = 2.0 * products.sum::<f64>();
        }
    }
    let mut low = [0.0; LOW * LOW];
    for (index, value) in low.iter_mut().enumerate() {
        let row = &columns[index / LOW * SIDE..][..SIDE];
        let cosines = &cosines[index % LOW * SIDE..][..SIDE];
        let sum: f64 = row.iter().zip(cosines).map(|(a, b)| a * b).sum();
        let sum = 2.0 * sum;
        *value = if sum.abs() < NOISE { 0.0 } else { sum };
    }
    let mut sorted = low;
    sorted.sort_by(f64::total_cmp);
    let median = (sorted[LOW * LOW / 2 - 1] + sorted[LOW * LOW / 2]) / 2.0;
    low.iter()
        .fold(0, |hash, value| hash << 1 | u64::from(*value > median))
}

/// Writes a hash as `imagehash` does.
pub(super) fn to_hex(hash: u64) -> String {
    format!("{hash:016x}")
}

/// Reads a hash that [`to_hex`] wrote.
pub(super) fn from_hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}
