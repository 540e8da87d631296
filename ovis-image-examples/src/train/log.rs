//! Log of a run: one JSON object per line. Lines with the key `loss` are training steps, those with
//! `validation` are validations.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ovis_image::training::StepReport;
use serde_json::{Map, Value, json};

use super::tensorboard::EventFile;
use crate::shared::output_file::write_whole;
use crate::shared::plot::{Series, panels};
use crate::shared::terminal::shown;

/// Log that lines are appended to, and its event file for TensorBoard.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    file: File,
    events: EventFile,
}

impl Log {
    /// Opens the log of a run that has finished `steps` steps. Lines of later steps are removed:
    /// the process that wrote them was killed before it saved.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn open(path: &Path, steps: u64) -> Result<Self> {
        let mut kept = String::new();
        if path.exists() {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", shown(path)))?;
            for line in text.lines().filter(|line| step_of(line) <= steps) {
                kept.push_str(line);
                kept.push('\n');
            }
            if kept != text {
                write_whole(path, kept.as_bytes())?;
            }
        }
        let file = OpenOptions::new().create(true).append(true).open(path);
        let folder = path.parent().unwrap_or(Path::new(""));
        Ok(Self {
            path: path.to_owned(),
            file: file.with_context(|| format!("cannot write {}", shown(path)))?,
            events: EventFile::create(folder, &kept)?,
        })
    }

    /// Writes a training step and its speed.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn step(&mut self, report: &StepReport, images_per_second: f64) -> Result<()> {
        let mut line = Map::new();
        line.insert("step".to_owned(), report.step.into());
        for (name, value) in &report.terms.0 {
            line.insert((*name).to_owned(), json!(value));
        }
        line.insert("grad_norm".to_owned(), json!(report.grad_norm));
        line.insert("learning_rate".to_owned(), json!(report.learning_rate));
        if report.skipped {
            line.insert("skipped".to_owned(), true.into());
        }
        let speed = (images_per_second * 10.0).round() / 10.0;
        line.insert("images_per_second".to_owned(), json!(speed));
        self.write(&Value::Object(line))
    }

    /// Writes a line.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn write(&mut self, line: &Value) -> Result<()> {
        // One write, so that a process that is killed leaves whole lines.
        let text = format!("{line}\n");
        let written = self.file.write_all(text.as_bytes());
        written.with_context(|| format!("cannot write {}", shown(&self.path)))?;
        self.events.write(line)
    }
}

/// Returns the step of a line. An unreadable line is incomplete, and counts as later than all.
fn step_of(line: &str) -> u64 {
    let line: Option<Value> = serde_json::from_str(line).ok();
    let step = line.and_then(|line| line.get("step")?.as_u64());
    step.unwrap_or(u64::MAX)
}

/// Returns the number of validations in a log after the one with the lowest loss, which is that of
/// the moving average if there is one. A loss that is not a number is never the lowest.
///
/// # Errors
/// Returns the system's error.
pub fn validations_since_best(log: &Path) -> Result<usize> {
    let text =
        std::fs::read_to_string(log).with_context(|| format!("cannot read {}", shown(log)))?;
    let loss = |line: &str| -> Option<f64> {
        let line: Value = serde_json::from_str(line).ok()?;
        let own = line.get("validation")?;
        let averaged = line.get("ema").and_then(|ema| ema.get("validation"));
        Some(averaged.unwrap_or(own).as_f64().unwrap_or(f64::INFINITY))
    };
    let (mut lowest, mut since) = (f64::INFINITY, 0);
    for loss in text.lines().filter_map(loss) {
        if loss < lowest {
            (lowest, since) = (loss, 0);
        } else {
            since += 1;
        }
    }
    Ok(since)
}

/// Maximum number of points of a line in the plot. More are averaged.
const POINTS: usize = 400;

/// Draws losses, validations and learning rates of a log as an SVG. Returns `None` if the run has
/// no steps.
///
/// # Errors
/// Returns the error of reading or drawing.
pub fn plot(log: &Path) -> Result<Option<String>> {
    let text =
        std::fs::read_to_string(log).with_context(|| format!("cannot read {}", shown(log)))?;
    let lines: Vec<Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let series = |name: &str, key: &str| {
        let point = |line: &Value| {
            let value = line.get(key)?.as_f64().filter(|value| value.is_finite())?;
            Some((line.get("step")?.as_u64()? as usize, value))
        };
        let points: Vec<(usize, f64)> = lines.iter().filter_map(point).collect();
        let mut series = Series::new(name);
        for part in points.chunks(points.len().div_ceil(POINTS).max(1)) {
            let sum: f64 = part.iter().map(|(_, value)| value).sum();
            series.push(part[part.len() / 2].0, sum / part.len() as f64);
        }
        (!series.points.is_empty()).then_some(series)
    };
    let losses: Vec<Series> = [
        series("loss", "loss"),
        series("validation", "validation"),
        series("characters", "characters"),
    ]
    .into_iter()
    .flatten()
    .collect();
    let rates: Vec<Series> = series("learning rate", "learning_rate")
        .into_iter()
        .collect();
    let norms: Vec<Series> = series("norm", "grad_norm").into_iter().collect();
    if losses.is_empty() || rates.is_empty() || norms.is_empty() {
        return Ok(None);
    }
    panels(&[
        ("Loss", &losses),
        ("Norm of the gradients", &norms),
        ("Learning rate", &rates),
    ])
    .map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(step: u64) -> Value {
        json!({"step": step, "loss": 1.0, "grad_norm": 2.0, "learning_rate": 1e-3})
    }

    #[test]
    fn validations_are_counted_after_the_best_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let mut log = Log::open(&path, 0).unwrap();
        let mut since = |validation: Value| {
            log.write(&line(1)).unwrap();
            log.write(&validation).unwrap();
            validations_since_best(&path).unwrap()
        };
        assert_eq!(since(json!({"validation": 0.5})), 0);
        assert_eq!(since(json!({"validation": 0.5})), 1);
        assert_eq!(since(json!({"validation": null})), 2);
        assert_eq!(since(json!({"validation": 0.4})), 0);
        // The moving average counts.
        let averaged = json!({"validation": 0.3, "ema": {"validation": 0.6}});
        assert_eq!(since(averaged), 1);
    }

    #[test]
    fn lines_after_the_resumed_step_and_broken_ones_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let mut log = Log::open(&path, 0).unwrap();
        for step in 1..=4 {
            log.write(&line(step)).unwrap();
        }
        log.write(&json!({"step": 2, "validation": 0.5})).unwrap();
        std::fs::write(
            &path,
            std::fs::read_to_string(&path).unwrap() + "{\"step\": 1, \"lo",
        )
        .unwrap();
        drop(Log::open(&path, 2).unwrap());
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(plot(&path).unwrap().unwrap().contains("validation"));
    }
}
