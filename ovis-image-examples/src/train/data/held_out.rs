//! Share of the rows that is held out for validation, chosen by a hash of the image's name, so that
//! another seed or another order of the rows holds out the same images.

use std::collections::{BTreeMap, BTreeSet};

use crate::manifest::hash;
use crate::training_data::{DataError, DataRow};

/// Indices of rows to train on, and of rows to validate on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// Rows to train on.
    pub training: Vec<usize>,
    /// Rows to validate on, in an order that does not follow the manifest's.
    pub held_out: Vec<usize>,
}

/// Holds out about a share of the rows, and at least one if the share is above 0. Rows of one image
/// stay together, and no bucket loses its last row. Regularization images are not held out.
pub(super) fn split(rows: &[DataRow], share: f64) -> Result<Share, DataError> {
    let mut images: BTreeMap<(u64, &str), Vec<usize>> = BTreeMap::new();
    let mut left: BTreeMap<[u32; 2], usize> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        if row.is_prior {
            continue;
        }
        let image = (hash(&row.name), row.name.as_str());
        images.entry(image).or_default().push(index);
        *left.entry(row.frame.bucket).or_default() += 1;
    }
    let most = share * u64::MAX as f64;
    let mut held_out: Vec<usize> = Vec::new();
    for ((hash, _), members) in &images {
        if share <= 0.0 || (*hash as f64) >= most && !held_out.is_empty() {
            break;
        }
        let mut after = left.clone();
        for member in members {
            *after.entry(rows[*member].frame.bucket).or_default() -= 1;
        }
        if after.values().all(|count| *count > 0) {
            left = after;
            held_out.extend(members);
        }
    }
    if share > 0.0 && held_out.is_empty() {
        return Err(DataError::NothingHeldOut);
    }
    let chosen: BTreeSet<usize> = held_out.iter().copied().collect();
    Ok(Share {
        training: (0..rows.len())
            .filter(|row| !chosen.contains(row))
            .collect(),
        held_out,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training_data::Frame;

    fn rows(names: &[&str]) -> Vec<DataRow> {
        let row =
            |name: &&str| DataRow::new((*name).to_owned(), name.into(), Frame::whole([16, 16]));
        names.iter().map(row).collect()
    }

    #[test]
    fn the_share_is_kept_and_at_least_one_row_is_held_out() {
        let names: Vec<String> = (0..2000).map(|number| format!("{number}.png")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let found = split(&rows(&names), 0.1).unwrap();
        assert!((150..250).contains(&found.held_out.len()));
        assert_eq!(found.training.len() + found.held_out.len(), 2000);
        assert_eq!(split(&rows(&names[..2]), 1e-9).unwrap().held_out.len(), 1);
        assert!(split(&rows(&names), 0.0).unwrap().held_out.is_empty());
    }

    #[test]
    fn regularization_images_are_trained_on() {
        let mut rows = rows(&["a", "b", "c", "d"]);
        rows[1].is_prior = true;
        rows[2].is_prior = true;
        let found = split(&rows, 0.99).unwrap();
        assert!(found.training.contains(&1) && found.training.contains(&2));
        assert!(!found.held_out.is_empty());
    }

    #[test]
    fn rows_of_one_image_stay_together_and_no_bucket_is_emptied() {
        let both = split(&rows(&["a", "b", "a", "b"]), 1e-9).unwrap();
        assert!(
            both.held_out == [0, 2] || both.held_out == [1, 3],
            "{both:?}"
        );
        let all = split(&rows(&["a", "b", "c"]), 1.0).unwrap();
        assert_eq!(all.training.len(), 1);
        let alone = split(&rows(&["a"]), 0.5).unwrap_err();
        assert!(matches!(alone, DataError::NothingHeldOut));
    }
}
