//! Near-duplicates: images whose perceptual hashes differ in few bits *and* whose captions are
//! alike. If images show text, the texts must be equal: posters of one layout look alike.

use std::collections::HashMap;

use clap::Args;

use super::captions::similarity;

/// Thresholds for near-duplicates.
#[derive(Debug, Args)]
#[command(next_help_heading = "Duplicates")]
pub(super) struct DuplicateArguments {
    /// Maximum number of bits, of 64, in which the perceptual hashes of duplicates differ
    #[arg(long, value_name = "BITS", default_value_t = 4,
        value_parser = clap::value_parser!(u32).range(0..=15))]
    duplicate_bits: u32,
    /// Minimum share of words that the captions of duplicates have in common
    #[arg(long, value_name = "SHARE", default_value_t = 0.7)]
    caption_similarity: f64,
    /// Keep near-duplicates
    #[arg(long)]
    keep_duplicates: bool,
}

/// Parts of a row that are compared.
#[derive(Debug)]
pub(super) struct Fingerprint {
    /// Perceptual hash.
    pub phash: u64,
    /// Number of pixels of the image. The largest of several duplicates is kept.
    pub pixels: u64,
    /// Hash of the texts that the image shows, 0 if it shows none.
    pub texts: u64,
    /// Features of the captions.
    pub features: Box<[u32]>,
}

/// Returns for each row the row that it duplicates. Rows that are `None` are not compared.
///
/// Hashes that differ in at most `n` bits are equal in at least one of `n + 1` bands, so only rows
/// that share a band are compared, and only with those that were kept.
pub(super) fn find(
    rows: &[Option<Fingerprint>],
    arguments: &DuplicateArguments,
) -> Vec<Option<u32>> {
    let mut found = vec![None; rows.len()];
    if arguments.keep_duplicates {
        return found;
    }
    let mut order: Vec<(usize, &Fingerprint)> = rows
        .iter()
        .enumerate()
        .filter_map(|(index, row)| Some((index, row.as_ref()?)))
        .collect();
    order.sort_by_key(|(index, row)| (std::cmp::Reverse(row.pixels), *index));
    let mut kept: HashMap<(u32, u64, u64), Vec<u32>> = HashMap::new();
    for (index, row) in order {
        let keys = bands(row.phash, arguments.duplicate_bits + 1)
            .map(|(band, bits)| (band, bits, row.texts));
        let original = keys
            .clone()
            .filter_map(|key| kept.get(&key))
            .flatten()
            .filter(|other| is_duplicate(row, rows[**other as usize].as_ref(), arguments))
            .min();
        if let Some(original) = original {
            found[index] = Some(*original);
        } else {
            for key in keys {
                kept.entry(key).or_default().push(index as u32);
            }
        }
    }
    found
}

fn is_duplicate(
    row: &Fingerprint,
    other: Option<&Fingerprint>,
    arguments: &DuplicateArguments,
) -> bool {
    other.is_some_and(|other| {
        (row.phash ^ other.phash).count_ones() <= arguments.duplicate_bits
            && similarity(&row.features, &other.features) >= arguments.caption_similarity
    })
}

/// Cuts a hash into bands of nearly the same width.
fn bands(hash: u64, count: u32) -> impl Iterator<Item = (u32, u64)> + Clone {
    (0..count).map(move |band| {
        let (start, end) = (64 * band / count, 64 * (band + 1) / count);
        let width = end - start;
        let mask = u64::MAX >> (64 - width);
        (band, hash >> start & mask)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arguments(duplicate_bits: u32) -> DuplicateArguments {
        DuplicateArguments {
            duplicate_bits,
            caption_similarity: 0.7,
            keep_duplicates: false,
        }
    }

    fn row(phash: u64, pixels: u64, texts: u64, features: &[u32]) -> Option<Fingerprint> {
        Some(Fingerprint {
            phash,
            pixels,
            texts,
            features: features.into(),
        })
    }

    #[test]
    fn image_caption_and_texts_must_all_agree() {
        let rows = [
            row(0, 10, 0, &[1, 2, 3]),
            row(0b1111, 20, 0, &[1, 2, 3]),
            row(0, 10, 0, &[7, 8]),
            row(0, 10, 5, &[1, 2, 3]),
            row(0, 10, 5, &[1, 2, 3]),
            row(0b11111 << 30, 5, 0, &[1, 2, 3]),
            None,
        ];
        // The larger image is kept.
        let expected = [Some(1), None, None, None, Some(3), None, None];
        assert_eq!(find(&rows, &arguments(4)), expected);
    }

    proptest! {
        #[test]
        fn bands_miss_no_pair(
            hashes in proptest::collection::vec(0_u64..1 << 12, 1..40),
            shift in 0_u32..52,
            bits in 0_u32..8,
        ) {
            let rows: Vec<_> = hashes.iter().map(|hash| row(hash << shift, 1, 0, &[])).collect();
            let found = find(&rows, &arguments(bits));
            let mut kept: Vec<usize> = Vec::new();
            for (index, hash) in hashes.iter().enumerate() {
                let original = kept
                    .iter()
                    .find(|other| (hash ^ hashes[**other]).count_ones() <= bits);
                prop_assert_eq!(found[index].map(|index| index as usize), original.copied());
                if original.is_none() {
                    kept.push(index);
                }
            }
        }
    }
}
