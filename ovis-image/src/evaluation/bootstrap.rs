use rand_mt::Mt64;
use serde::Serialize;

/// Interval that contains 95 % of resampled values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(into = "[f64; 2]")]
#[non_exhaustive]
pub struct Interval {
    /// Lower end: 2.5 % of the values are below it.
    pub lower: f64,
    /// Upper end: 2.5 % of the values are above it.
    pub upper: f64,
}

impl From<Interval> for [f64; 2] {
    fn from(interval: Interval) -> Self {
        [interval.lower, interval.upper]
    }
}

/// Number of resamples.
const RESAMPLES: usize = 1000;

/// Computes the 95 % interval of a statistic by the percentile bootstrap (Efron and Tibshirani,
/// 1993): the statistic of 1,000 draws of as many items, with replacement. `statistic` gets the
/// items of a draw. The draws are the same for the same number of items.
///
/// Returns `None` without items, or if the statistic is not finite.
pub fn bootstrap_interval<T>(
    items: &[T],
    mut statistic: impl FnMut(&[&T]) -> f64,
) -> Option<Interval> {
    if items.is_empty() {
        return None;
    }
    let mut random = Mt64::new(items.len() as u64);
    let mut draw: Vec<&T> = Vec::with_capacity(items.len());
    let mut values = Vec::with_capacity(RESAMPLES);
    for _ in 0..RESAMPLES {
        draw.clear();
        draw.extend((0..items.len()).map(|_| &items[below(&mut random, items.len())]));
        values.push(statistic(&draw));
    }
    if values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[(share * (RESAMPLES - 1) as f64).round() as usize];
    Some(Interval {
        lower: at(0.025),
        upper: at(0.975),
    })
}

/// Draws a number below a limit.
fn below(random: &mut Mt64, limit: usize) -> usize {
    // The product's upper half; biased by less than limit / 2^64.
    ((u128::from(random.next_u64()) * limit as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(values: &[&f64]) -> f64 {
        values.iter().copied().sum::<f64>() / values.len() as f64
    }

    #[test]
    fn an_interval_has_the_width_of_the_normal_approximation() {
        let items: Vec<f64> = (0..400).map(|index| f64::from(index % 2)).collect();
        let interval = bootstrap_interval(&items, mean).unwrap();
        // 1.96 standard errors of a share of one half.
        let half_width = 1.96 * 0.5 / 20.0;
        assert!((interval.upper - interval.lower - 2.0 * half_width).abs() < 0.015);
        assert!(interval.lower < 0.5 && interval.upper > 0.5);
        assert_eq!(bootstrap_interval(&items, mean), Some(interval));
    }

    #[test]
    fn nothing_has_no_interval() {
        assert_eq!(bootstrap_interval(&[], mean), None);
        assert_eq!(bootstrap_interval(&[1.0], |_| f64::NAN), None);
    }
}
