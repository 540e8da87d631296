//! Result of a benchmark, as a table and as JSON.

use serde_json::{Map, Value, json};

/// Figures of one group of images.
#[derive(Debug)]
pub struct Figures {
    /// Metrics, each with its 95 % interval if there is one.
    pub metrics: Vec<(&'static str, f64, Option<[f64; 2]>)>,
    /// Counts, such as those of words.
    pub counts: Vec<(&'static str, usize)>,
    /// Number of prompts whose image was read.
    pub covered: usize,
    /// Number of prompts.
    pub expected: usize,
}

impl Figures {
    /// Returns the share of prompts whose image was read.
    fn coverage(&self) -> f64 {
        self.covered as f64 / self.expected.max(1) as f64
    }

    fn json(&self) -> Map<String, Value> {
        let mut map = Map::new();
        let mut intervals = Map::new();
        for (name, value, interval) in &self.metrics {
            map.insert((*name).to_owned(), json!(value));
            if let Some(interval) = interval {
                intervals.insert((*name).to_owned(), json!(interval));
            }
        }
        map.insert("coverage".to_owned(), json!(self.coverage()));
        map.insert("images".to_owned(), json!(self.covered));
        map.insert("expected_images".to_owned(), json!(self.expected));
        for (name, count) in &self.counts {
            map.insert((*name).to_owned(), json!(count));
        }
        map.insert("intervals_95".to_owned(), Value::Object(intervals));
        map
    }

    /// Returns the cells of the metrics with these names, and of the number of images.
    fn cells(&self, names: &[&str]) -> Vec<String> {
        let metrics = names.iter().map(|name| {
            let metric = self.metrics.iter().find(|(other, ..)| other == name);
            metric.map_or_else(String::new, |(_, value, interval)| {
                let range = interval.map(|[lower, upper]| format!(" ({lower:.4} to {upper:.4})"));
                format!("{value:.4}{}", range.unwrap_or_default())
            })
        });
        let images = format!("{} of {}", self.covered, self.expected);
        metrics.chain([images]).collect()
    }
}

/// Result of a benchmark.
#[derive(Debug)]
pub struct Report {
    /// Name of the benchmark.
    pub benchmark: &'static str,
    /// `official` or `strict`.
    pub mode: &'static str,
    /// Program or model that read the images, if it was said.
    pub reader: Option<String>,
    /// All images.
    pub total: Figures,
    /// Groups of images by kind of grouping, such as `regions`, and name.
    pub groups: Vec<(&'static str, Vec<(String, Figures)>)>,
    /// Images that were read and belong to no prompt.
    pub ignored: Vec<String>,
    /// Remarks on the result, such as prompts that the official rules drop.
    pub notes: Vec<String>,
}

impl Report {
    /// Returns the result as one object.
    pub fn json(&self) -> Value {
        let mut map = Map::new();
        map.insert("benchmark".to_owned(), json!(self.benchmark));
        map.insert("mode".to_owned(), json!(self.mode));
        map.insert("reader".to_owned(), json!(self.reader));
        map.extend(self.total.json());
        for (kind, groups) in &self.groups {
            let groups = groups
                .iter()
                .map(|(name, figures)| (name.clone(), Value::Object(figures.json())));
            map.insert((*kind).to_owned(), Value::Object(groups.collect()));
        }
        map.insert("ignored".to_owned(), json!(self.ignored));
        map.insert("notes".to_owned(), json!(self.notes));
        Value::Object(map)
    }

    /// Returns the names of all metrics, first those of all images.
    fn metric_names(&self) -> Vec<&'static str> {
        let groups = self.groups.iter().flat_map(|(_, groups)| groups);
        let figures = [&self.total].into_iter();
        let figures = figures.chain(groups.map(|(_, figures)| figures));
        let mut names = Vec::new();
        for (name, ..) in figures.flat_map(|figures| &figures.metrics) {
            if !names.contains(name) {
                names.push(*name);
            }
        }
        names
    }

    /// Returns the result as a table, after a line that says what it is of.
    pub fn table(&self) -> String {
        let reader = self.reader.as_deref().unwrap_or("not named");
        let title = format!(
            "{}, {} rules, reader: {reader}\n\n",
            self.benchmark, self.mode
        );
        let names = self.metric_names();
        let head = ["group"].iter().chain(&names).chain(&["images"]);
        let mut rows = vec![head.map(|name| (*name).to_owned()).collect::<Vec<_>>()];
        for (kind, groups) in &self.groups {
            for (name, figures) in groups {
                let label = format!("{kind}: {name}");
                rows.push([label].into_iter().chain(figures.cells(&names)).collect());
            }
        }
        let total = ["all".to_owned()].into_iter();
        rows.push(total.chain(self.total.cells(&names)).collect());
        let widths: Vec<usize> = (0..rows[0].len())
            .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
            .collect();
        let lines = rows.iter().map(|row| {
            let cells = row.iter().zip(&widths);
            let cells = cells.map(|(cell, width)| format!("{cell:<width$}"));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        });
        title + &lines.collect::<Vec<_>>().join("\n") + "\n"
    }
}
