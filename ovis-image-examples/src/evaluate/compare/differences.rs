use std::fmt::Write;

use ovis_image::evaluation::bootstrap_interval;
use serde_json::{Value, json};

use crate::evaluate::score::{PromptScore, Share};

/// Two runs of a benchmark, prompt by prompt.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) benchmark: String,
    /// Names of the runs.
    pub(super) names: [String; 2],
    pairs: Vec<Pair>,
    pub(super) metrics: Vec<Difference>,
}

/// Prompt with its scores in both runs.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) first: PromptScore,
    pub(super) second: PromptScore,
}

/// Difference of a metric.
#[derive(Debug)]
pub(super) struct Difference {
    pub(super) metric: &'static str,
    /// Values of both runs.
    pub(super) values: [f64; 2],
    /// Interval of the second value less the first, if there are prompts.
    pub(super) interval: Option<[f64; 2]>,
    /// Numbers of prompts that are worse, equal and better in the second run.
    pub(super) prompts: [usize; 3],
}

impl Difference {
    pub(super) fn value(&self) -> f64 {
        self.values[1] - self.values[0]
    }
}

impl Pair {
    fn shares(&self, metric: usize) -> [&Share; 2] {
        [&self.first.shares[metric], &self.second.shares[metric]]
    }

    /// Returns the second value less the first.
    fn difference(&self, metric: usize) -> f64 {
        let [first, second] = self.shares(metric);
        Share::value([second]) - Share::value([first])
    }
}

impl Comparison {
    /// Pairs the scores of the same prompts in the same order.
    pub(super) fn new(
        benchmark: &str,
        names: [String; 2],
        first: Vec<PromptScore>,
        second: Vec<PromptScore>,
    ) -> Self {
        let pairs = first.into_iter().zip(second);
        let pairs: Vec<Pair> = pairs
            .map(|(first, second)| Pair { first, second })
            .collect();
        let metrics = pairs.first().map_or(0, |pair| pair.first.shares.len());
        Self {
            benchmark: benchmark.to_owned(),
            names,
            metrics: (0..metrics)
                .map(|metric| difference(&pairs, metric))
                .collect(),
            pairs,
        }
    }

    /// Returns the prompts for which the second run is worst in comparison with the first, by the
    /// first metric and then by the next.
    pub(super) fn worst(&self, count: usize) -> Vec<&Pair> {
        let key = |pair: &&Pair| -> Vec<f64> {
            let metrics = 0..self.metrics.len();
            metrics.map(|metric| pair.difference(metric)).collect()
        };
        let is_worse = |pair: &&Pair| {
            let changed = key(pair).into_iter().find(|difference| *difference != 0.0);
            changed.is_some_and(|difference| difference < 0.0)
        };
        let mut worse: Vec<&Pair> = self.pairs.iter().filter(is_worse).collect();
        worse.sort_by(|first, second| {
            let differences = key(first).into_iter().zip(key(second));
            differences
                .map(|(first, second)| first.total_cmp(&second))
                .find(|order| order.is_ne())
                .unwrap_or(std::cmp::Ordering::Equal)
        });
        worse.truncate(count);
        worse
    }

    pub(super) fn prompts(&self) -> usize {
        self.pairs.len()
    }

    /// Returns the differences as one object.
    pub(super) fn json(&self, worst: usize) -> Value {
        let metrics = self.metrics.iter().map(|difference| {
            let [worse, equal, better] = difference.prompts;
            let object = json!({
                "a": difference.values[0],
                "b": difference.values[1],
                "difference": difference.value(),
                "interval_95": difference.interval,
                "worse": worse,
                "equal": equal,
                "better": better,
            });
            (difference.metric.to_owned(), object)
        });
        let worst = self.worst(worst).into_iter().map(|pair| {
            json!({
                "image": pair.first.image,
                "expected": pair.first.expected,
                "a": pair.first.reading,
                "b": pair.second.reading,
            })
        });
        json!({
            "benchmark": self.benchmark,
            "a": self.names[0],
            "b": self.names[1],
            "prompts": self.prompts(),
            "metrics": metrics.collect::<serde_json::Map<_, _>>(),
            "worst": worst.collect::<Vec<_>>(),
        })
    }

    /// Returns the differences as text.
    pub(super) fn table(&self, worst: usize) -> String {
        let mut table = format!(
            "{}, {} prompts\nA: {}\nB: {}\n\n{:14} {:>8} {:>8} {:>9}  {:20} {:>6} {:>6} {:>6}\n",
            self.benchmark,
            self.prompts(),
            self.names[0],
            self.names[1],
            "",
            "A",
            "B",
            "B - A",
            "95 % interval",
            "worse",
            "equal",
            "better",
        );
        for difference in &self.metrics {
            let [worse, equal, better] = difference.prompts;
            let [first, second] = difference.values;
            let interval = difference.interval.map(shown_interval).unwrap_or_default();
            // Writing to a string cannot fail.
            let _ = writeln!(
                table,
                "{:14} {first:8.4} {second:8.4} {:+9.4}  {interval:20} {worse:6} {equal:6} {better:6}",
                difference.metric,
                difference.value(),
            );
        }
        let worst = self.worst(worst);
        if !worst.is_empty() {
            table.push_str("\nworst in B:\n");
        }
        for pair in worst {
            let _ = writeln!(
                table,
                "{}: \"{}\", A {}, B {}",
                pair.first.image.display(),
                pair.first.expected,
                shown_reading(&pair.first),
                shown_reading(&pair.second),
            );
        }
        table
    }
}

/// Returns the ends of an interval of differences.
pub(super) fn shown_interval([lower, upper]: [f64; 2]) -> String {
    format!("{lower:+.4} to {upper:+.4}")
}

fn shown_reading(score: &PromptScore) -> String {
    match &score.reading {
        Some(reading) => format!("\"{reading}\""),
        None => "missing".to_owned(),
    }
}

fn difference(pairs: &[Pair], metric: usize) -> Difference {
    let values = |pairs: &[&Pair]| {
        let value = |run: usize| Share::value(pairs.iter().map(|pair| pair.shares(metric)[run]));
        [value(0), value(1)]
    };
    let interval = bootstrap_interval(pairs, |drawn| {
        let [first, second] = values(drawn);
        second - first
    });
    let all: Vec<&Pair> = pairs.iter().collect();
    let mut prompts = [0; 3];
    for pair in pairs {
        let difference = pair.difference(metric);
        prompts[if difference < 0.0 {
            0
        } else if difference == 0.0 {
            1
        } else {
            2
        }] += 1;
    }
    Difference {
        metric: pairs[0].first.shares[metric].metric,
        values: values(&all),
        interval: interval.map(<[f64; 2]>::from),
        prompts,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scores of prompts by one metric of one word each.
    fn scores(parts: &[f64]) -> Vec<PromptScore> {
        let of_part = |(index, part): (usize, &f64)| PromptScore {
            image: format!("{index:04}.png").into(),
            expected: "OPEN".to_owned(),
            reading: (*part > 0.0).then(|| "OPEN".to_owned()),
            shares: vec![Share {
                metric: "exact",
                part: *part,
                whole: 1.0,
            }],
        };
        parts.iter().enumerate().map(of_part).collect()
    }

    fn comparison(first: &[f64], second: &[f64]) -> Comparison {
        let names = ["a".to_owned(), "b".to_owned()];
        Comparison::new("signs", names, scores(first), scores(second))
    }

    #[test]
    fn equal_runs_do_not_differ() {
        let equal = comparison(&[1.0, 0.0, 1.0], &[1.0, 0.0, 1.0]);
        assert_eq!(equal.metrics[0].interval, Some([0.0, 0.0]));
        assert_eq!(equal.metrics[0].prompts, [0, 3, 0]);
        assert!(equal.worst(5).is_empty());
    }

    #[test]
    fn pairs_give_narrower_intervals_than_runs_apart() {
        // Half of the prompts are hard for both; the second run gains in one of ten.
        let first: Vec<f64> = (0..400).map(|index| f64::from(index % 2)).collect();
        let second: Vec<f64> = (0..400)
            .map(|index| {
                if index % 20 == 0 {
                    1.0
                } else {
                    f64::from(index % 2)
                }
            })
            .collect();
        let difference = &comparison(&first, &second).metrics[0];
        let [lower, upper] = difference.interval.unwrap();
        assert!((difference.value() - 0.05).abs() < 1e-9);
        // 1.96 standard errors of a share of 0.05 among 400.
        let half_width = 1.96 * (0.05f64 * 0.95 / 400.0).sqrt();
        assert!(
            (upper - lower - 2.0 * half_width).abs() < 0.01,
            "{lower} to {upper}"
        );
        assert!(lower > 0.0);
        assert_eq!(difference.prompts, [0, 380, 20]);
    }

    #[test]
    fn the_worst_come_first_and_only_those_that_are_worse() {
        let compared = comparison(&[1.0, 1.0, 0.5, 0.0], &[0.5, 0.0, 0.5, 1.0]);
        let images = |count| -> Vec<String> {
            let worst = compared.worst(count).into_iter();
            worst
                .map(|pair| pair.first.image.display().to_string())
                .collect()
        };
        assert_eq!(images(5), ["0001.png", "0000.png"]);
        assert_eq!(images(1), ["0001.png"]);
        let table = compared.table(5);
        assert!(
            table.contains("0001.png: \"OPEN\", A \"OPEN\", B missing"),
            "{table}"
        );
        assert_eq!(compared.json(5)["metrics"]["exact"]["worse"], 2);
    }

    #[test]
    fn nothing_compares_to_nothing() {
        let nothing = comparison(&[], &[]);
        assert!(nothing.metrics.is_empty() && nothing.worst(1).is_empty());
    }
}
