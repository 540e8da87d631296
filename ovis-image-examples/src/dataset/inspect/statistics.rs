//! Counts and ranges of a manifest's contents.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::dataset::manifest::Row;

/// Counts of a manifest.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    /// Number of rows.
    pub rows: u64,
    captions_en: u64,
    captions_zh: u64,
    both: u64,
    without: u64,
    texts: u64,
    repeats: f64,
    weights: Range,
    widths: Range,
    heights: Range,
    groups: BTreeMap<(&'static str, String), u64>,
    scores: BTreeMap<String, Range>,
}

/// Smallest, largest and mean value.
#[derive(Clone, Copy, Debug, Default)]
struct Range {
    count: u64,
    least: f64,
    most: f64,
    sum: f64,
}

impl Range {
    fn add(&mut self, value: f64) {
        let is_first = self.count == 0;
        self.least = if is_first {
            value
        } else {
            self.least.min(value)
        };
        self.most = if is_first {
            value
        } else {
            self.most.max(value)
        };
        self.count += 1;
        self.sum += value;
    }

    fn shown(&self) -> String {
        let mean = self.sum / self.count.max(1) as f64;
        format!(
            "{} to {}, mean {mean:.2} ({} rows)",
            self.least, self.most, self.count
        )
    }
}

/// Maximum number of groups of a kind, so that a field with endless values cannot fill the memory.
const MOST_GROUPS: usize = 1000;

impl Statistics {
    /// Counts a row.
    pub(super) fn add(&mut self, row: &Row) {
        self.rows += 1;
        match (&row.caption_en, &row.caption_zh) {
            (Some(_), Some(_)) => self.both += 1,
            (Some(_), None) => self.captions_en += 1,
            (None, Some(_)) => self.captions_zh += 1,
            (None, None) => self.without += 1,
        }
        self.texts += u64::from(!row.texts.is_empty());
        self.repeats += row
            .other
            .get("repeats")
            .and_then(Value::as_f64)
            .unwrap_or(1.0);
        if let Some(weight) = row.other.get("weight").and_then(Value::as_f64) {
            self.weights.add(weight);
        }
        if let (Some(width), Some(height)) = (row.width, row.height) {
            self.widths.add(width.into());
            self.heights.add(height.into());
        }
        for (name, score) in &row.scores {
            if self.scores.len() < MOST_GROUPS || self.scores.contains_key(name) {
                self.scores.entry(name.clone()).or_default().add(*score);
            }
        }
        self.group("source", row.source.as_deref().unwrap_or("none"));
        self.group("license", row.license.as_deref().unwrap_or("none"));
        for name in ["content", "reason"] {
            if let Some(value) = row.other.get(name).and_then(Value::as_str) {
                self.group(name, value);
            }
        }
        if let Some([width, height]) = row
            .other
            .get("bucket")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
        {
            self.group("bucket", &format!("{width}x{height}"));
        }
    }

    fn group(&mut self, name: &'static str, value: &str) {
        let key = (name, value.to_owned());
        if self.groups.len() < MOST_GROUPS || self.groups.contains_key(&key) {
            *self.groups.entry(key).or_default() += 1;
        }
    }

    /// Lists the counts as pairs of label and value.
    pub(super) fn lines(&self) -> Vec<(String, String)> {
        let mut lines = vec![
            ("rows".to_owned(), self.rows.to_string()),
            (
                "rows with their repeats".to_owned(),
                self.repeats.to_string(),
            ),
            (
                "captions in English only".to_owned(),
                self.captions_en.to_string(),
            ),
            (
                "captions in Chinese only".to_owned(),
                self.captions_zh.to_string(),
            ),
            ("captions in both".to_owned(), self.both.to_string()),
            ("without a caption".to_owned(), self.without.to_string()),
            ("images that show text".to_owned(), self.texts.to_string()),
        ];
        let ranges = [
            ("width", &self.widths),
            ("height", &self.heights),
            ("weight", &self.weights),
        ];
        for (name, range) in ranges {
            if range.count > 0 {
                lines.push((name.to_owned(), range.shown()));
            }
        }
        for (name, range) in &self.scores {
            lines.push((format!("score {name}"), range.shown()));
        }
        for ((name, value), count) in &self.groups {
            lines.push((format!("{name} {value}"), count.to_string()));
        }
        lines
    }

    /// Writes the counts as text.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.lines() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name}: {value}");
        }
        text
    }
}
