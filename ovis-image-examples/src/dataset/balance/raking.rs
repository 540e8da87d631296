//! Group factors that give each dimension the requested shares: iterative proportional fitting,
//! or raking, of a table of cells.

use std::collections::BTreeMap;

/// Number of fitting rounds. Tables of a few dimensions converge in a tenth of this.
const ROUNDS: usize = 200;

/// Cell: a value for each dimension.
pub(super) type Cell = Vec<String>;

/// Requested shares of one dimension, by value.
pub(super) type Target = BTreeMap<String, f64>;

/// Computes a factor for each cell. `counts` are images, with their repeats; `targets` has an entry
/// for each dimension. The factors preserve the total number of images.
pub(super) fn rake(counts: &BTreeMap<Cell, f64>, targets: &[Target]) -> BTreeMap<Cell, f64> {
    let total: f64 = counts.values().sum();
    let mut factors: BTreeMap<Cell, f64> = counts.keys().map(|cell| (cell.clone(), 1.0)).collect();
    for _ in 0..ROUNDS {
        for (dimension, target) in targets.iter().enumerate() {
            let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
            for (cell, count) in counts {
                *sums.entry(&cell[dimension]).or_default() += count * factors[cell];
            }
            for (cell, factor) in &mut factors {
                let value = cell[dimension].as_str();
                if let (Some(sum), Some(share)) = (sums.get(value), target.get(value))
                    && *sum > 0.0
                {
                    *factor *= share * total / sum;
                }
            }
        }
    }
    factors
}

/// Returns the target shares of a dimension: the given ones, and equal parts of the rest for the
/// other values. A `strength` below 1 moves only part of the way from the current shares.
pub(super) fn target(actual: &BTreeMap<String, f64>, given: &Target, strength: f64) -> Target {
    let total: f64 = actual.values().sum();
    let given_there = |value: &String| given.get(value).copied();
    let taken: f64 = actual.keys().filter_map(given_there).sum();
    let others = actual
        .keys()
        .filter(|value| !given.contains_key(*value))
        .count();
    let rest = (1.0 - taken).max(0.0) / others.max(1) as f64;
    let powered: Target = actual
        .iter()
        .map(|(value, count)| {
            let wanted = given_there(value).unwrap_or(rest);
            let there = count / total;
            (
                value.clone(),
                wanted.powf(strength) * there.powf(1.0 - strength),
            )
        })
        .collect();
    let sum: f64 = powered.values().sum();
    powered
        .into_iter()
        .map(|(value, share)| (value, share / sum.max(f64::MIN_POSITIVE)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(a: &str, b: &str) -> Cell {
        vec![a.to_owned(), b.to_owned()]
    }

    #[test]
    fn both_dimensions_get_their_shares() {
        let counts = BTreeMap::from([
            (cell("real", "small"), 900.0),
            (cell("real", "large"), 50.0),
            (cell("synthetic", "small"), 30.0),
            (cell("synthetic", "large"), 20.0),
        ]);
        let sums = |dimension: usize, factors: Option<&BTreeMap<Cell, f64>>| {
            let mut sums = BTreeMap::new();
            for (cell, count) in &counts {
                let factor = factors.map_or(1.0, |factors| factors[cell]);
                *sums.entry(cell[dimension].clone()).or_insert(0.0) += count * factor;
            }
            sums
        };
        let given = Target::from([("synthetic".to_owned(), 0.3)]);
        let targets = [
            target(&sums(0, None), &given, 1.0),
            target(&sums(1, None), &Target::new(), 1.0),
        ];
        let factors = rake(&counts, &targets);
        for (dimension, value, share) in
            [(0, "synthetic", 0.3), (0, "real", 0.7), (1, "large", 0.5)]
        {
            let found = sums(dimension, Some(&factors))[value];
            assert!((found - 1000.0 * share).abs() < 1e-6, "{value}: {found}");
        }
    }

    #[test]
    fn without_strength_nothing_changes() {
        let actual = BTreeMap::from([("a".to_owned(), 90.0), ("b".to_owned(), 10.0)]);
        let kept = target(&actual, &Target::new(), 0.0);
        assert!((kept["a"] - 0.9).abs() < 1e-12);
        let half = target(&actual, &Target::new(), 0.5);
        assert!(half["a"] > 0.5 && half["a"] < 0.9);
    }
}
