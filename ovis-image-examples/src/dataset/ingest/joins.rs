//! Joins external scores and recaptions by id.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use serde_json::Value;

use super::reason::{Dropped, Reason};
use crate::dataset::manifest::{Joined, Row};

/// Files to join.
#[derive(Debug, Args)]
#[command(next_help_heading = "Scores and recaptions")]
pub(super) struct JoinArguments {
    /// File of JSON lines with `id` and scores: numbers by their names
    #[arg(long, value_name = "FILE")]
    scores: Vec<PathBuf>,
    /// Minimum score of the rows to keep, for example aesthetic=5
    #[arg(long, value_name = "NAME=VALUE", value_parser = threshold)]
    min: Vec<(String, f64)>,
    /// Maximum score of the rows to keep, for example watermark=0.5
    #[arg(long, value_name = "NAME=VALUE", value_parser = threshold)]
    max: Vec<(String, f64)>,
    /// Keep rows that lack a score with a threshold
    #[arg(long)]
    keep_unscored: bool,
    /// File of JSON lines with `id`, `caption_en` and `caption_zh`, which replace the captions
    #[arg(long, value_name = "FILE")]
    recaptions: Vec<PathBuf>,
}

fn threshold(text: &str) -> Result<(String, f64), String> {
    let parsed = text.split_once('=').and_then(|(name, value)| {
        let value: f64 = value.trim().parse().ok()?;
        value.is_finite().then(|| (name.trim().to_owned(), value))
    });
    parsed.ok_or_else(|| format!("`{text}` is not NAME=NUMBER"))
}

/// Files that are ready to be joined.
#[derive(Debug)]
pub(super) struct Joins<'a> {
    arguments: &'a JoinArguments,
    scores: Vec<Joined>,
    recaptions: Vec<Joined>,
}

impl<'a> Joins<'a> {
    /// Indexes the rows of each file.
    ///
    /// # Errors
    /// Returns an error that names the file and the line.
    pub(super) fn open(arguments: &'a JoinArguments) -> Result<Self> {
        let open = |paths: &[PathBuf]| -> Result<Vec<Joined>> {
            paths.iter().map(|path| Ok(Joined::open(path)?)).collect()
        };
        Ok(Self {
            arguments,
            scores: open(&arguments.scores)?,
            recaptions: open(&arguments.recaptions)?,
        })
    }

    /// Adds scores and recaptions to a row.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read, or a value is not of its type.
    pub(super) fn join(&self, row: &mut Row) -> Result<()> {
        for file in &self.scores {
            if let Some(record) = file.find(&row.id)? {
                let nested = record.get("scores").and_then(Value::as_object);
                for (name, value) in nested.unwrap_or(&record) {
                    if let (Some(score), true) = (value.as_f64(), name != "id") {
                        row.scores.insert(name.clone(), score);
                    }
                }
            }
        }
        for file in &self.recaptions {
            let Some(record) = file.find(&row.id)? else {
                continue;
            };
            for (name, caption) in [
                ("caption_en", &mut row.caption_en),
                ("caption_zh", &mut row.caption_zh),
            ] {
                match record.get(name) {
                    Some(Value::String(text)) if !text.trim().is_empty() => {
                        *caption = Some(text.clone());
                    }
                    None | Some(Value::Null | Value::String(_)) => {}
                    Some(_) => bail!(
                        "`{name}` of `{}` in {} is not a text",
                        row.id,
                        file.path().display()
                    ),
                }
            }
        }
        Ok(())
    }

    /// Checks the scores of a row.
    ///
    /// # Errors
    /// Returns the first reason to drop the row.
    pub(super) fn check(&self, row: &Row) -> Result<(), Dropped> {
        let sides = [(&self.arguments.min, true), (&self.arguments.max, false)];
        for (thresholds, is_least) in sides {
            for (name, bound) in thresholds {
                match row.scores.get(name) {
                    None if self.arguments.keep_unscored => {}
                    None => {
                        let detail = format!("it has no score `{name}`");
                        return Err(Dropped::new(Reason::ScoreMissing, detail));
                    }
                    Some(score) if (is_least && score < bound) || (!is_least && score > bound) => {
                        let side = if is_least { "below" } else { "above" };
                        let detail = format!("{name} is {score}, {side} {bound}");
                        return Err(Dropped::new(Reason::Score, detail));
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }
}
