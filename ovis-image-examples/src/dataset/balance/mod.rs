//! `dataset balance`: a weight for each image, so that rare images are drawn often enough.

mod raking;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::ValueEnum;
use serde_json::Value;

use super::manifest::{LineWriter, Row, Rows, file_in};
use crate::shared::program::print;
use crate::shared::terminal::printable_lines;
use crate::shared::usage::UsageError;
use raking::{Cell, Target, rake, target};

/// Gives each image the weight by which training draws it.
///
/// Writes the field weight to the manifest: the repeats of an image times the factor of its group.
/// The weights add up to the number of images, counted with their repeats.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Manifest, or its folder
    #[arg(value_name = "MANIFEST")]
    manifest: PathBuf,
    /// Dimensions to balance
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "content,resolution,aspect,source"
    )]
    by: Vec<Dimension>,
    /// Share of a group, for example source:synthetic=0.3; the other groups share the rest equally
    #[arg(long, value_name = "DIMENSION:GROUP=SHARE", value_parser = share)]
    share: Vec<(Dimension, String, f64)>,
    /// Strength of the balancing: 0 keeps the current shares, 1 aims for the requested ones
    #[arg(long, value_name = "VALUE", default_value_t = 0.5)]
    strength: f64,
    /// Largest factor of a group, so that the images of a small group are not drawn too often
    #[arg(long, value_name = "FACTOR", default_value_t = 10.0)]
    max_factor: f64,
}

/// Dimension by which images are grouped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Dimension {
    /// Field content, or else text or image
    Content,
    /// The bucket's resolution: 256, 512 or 1024
    Resolution,
    /// Portrait, square or landscape
    Aspect,
    /// Field source
    Source,
}

fn share(text: &str) -> Result<(Dimension, String, f64), String> {
    let parsed = text.split_once(':').and_then(|(dimension, rest)| {
        let (group, share) = rest.rsplit_once('=')?;
        let share: f64 = share.trim().parse().ok()?;
        let dimension = Dimension::from_str(dimension.trim(), true).ok()?;
        (0.0..=1.0)
            .contains(&share)
            .then(|| (dimension, group.trim().to_owned(), share))
    });
    parsed.ok_or_else(|| format!("`{text}` is not DIMENSION:GROUP=SHARE, with a share from 0 to 1"))
}

/// Writes the weights.
///
/// # Errors
/// Returns an error if an argument is wrong, or the manifest cannot be read or written.
pub fn run(arguments: Arguments) -> Result<()> {
    ensure!(
        (0.0..=1.0).contains(&arguments.strength),
        UsageError::new("invalid --strength: it must be from 0 to 1")
    );
    ensure!(
        arguments.max_factor >= 1.0,
        UsageError::new("invalid --max-factor: it must be at least 1")
    );
    let manifest = file_in(&arguments.manifest);
    let mut counts: BTreeMap<Cell, f64> = BTreeMap::new();
    for row in Rows::open(&manifest)? {
        let row = row?;
        *counts.entry(cell(&row, &arguments.by)).or_default() += repeats(&row);
    }
    let targets = targets(&counts, &arguments)?;
    let total: f64 = counts.values().sum();
    let mut factors = rake(&counts, &targets);
    for factor in factors.values_mut() {
        *factor = factor.min(arguments.max_factor);
    }
    let sum: f64 = counts
        .iter()
        .map(|(cell, count)| count * factors[cell])
        .sum();
    let mut writer = LineWriter::create(&manifest)?;
    for row in Rows::open(&manifest)? {
        let mut row = row?;
        let factor = factors[&cell(&row, &arguments.by)] * total / sum;
        let weight = (repeats(&row) * factor * 1e6).round() / 1e6;
        row.other.insert("weight".to_owned(), weight.into());
        writer.write(&row)?;
    }
    writer.finish()?;
    print(printable_lines(&table(&counts, &factors, total / sum)).as_bytes())
}

fn targets(counts: &BTreeMap<Cell, f64>, arguments: &Arguments) -> Result<Vec<Target>> {
    let mut targets = Vec::new();
    for (index, dimension) in arguments.by.iter().enumerate() {
        let mut actual: BTreeMap<String, f64> = BTreeMap::new();
        for (cell, count) in counts {
            *actual.entry(cell[index].clone()).or_default() += count;
        }
        let given = arguments.share.iter().filter(|(of, ..)| of == dimension);
        let given: Target = given
            .map(|(_, group, share)| (group.clone(), *share))
            .collect();
        for group in given.keys() {
            ensure!(
                actual.contains_key(group),
                UsageError::new(format!(
                    "invalid --share: no image is in the group `{group}`; there are {}",
                    actual.keys().cloned().collect::<Vec<_>>().join(", ")
                ))
            );
        }
        ensure!(
            given.values().sum::<f64>() <= 1.0 + 1e-9,
            UsageError::new("invalid --share: the shares of a dimension add up to more than 1")
        );
        targets.push(target(&actual, &given, arguments.strength));
    }
    Ok(targets)
}

fn cell(row: &Row, by: &[Dimension]) -> Cell {
    by.iter().map(|dimension| dimension.of(row)).collect()
}

/// Number of times that an image counts: kohya's repeats.
fn repeats(row: &Row) -> f64 {
    let repeats = row.other.get("repeats").and_then(Value::as_f64);
    repeats.filter(|repeats| *repeats > 0.0).unwrap_or(1.0)
}

impl Dimension {
    fn of(self, row: &Row) -> String {
        let field = |name: &str| row.other.get(name).and_then(Value::as_str);
        match self {
            Self::Content => match field("content") {
                Some(content) => content.to_owned(),
                None if row.texts.is_empty() => "image".to_owned(),
                None => "text".to_owned(),
            },
            Self::Source => row.source.clone().unwrap_or_else(|| "none".to_owned()),
            Self::Resolution => {
                let (width, height) = size(row);
                // Buckets have at most the square's pixels, and more than half of them.
                let side = (width * height).sqrt();
                [256, 512, 1024, 2048]
                    .into_iter()
                    .find(|most| side <= f64::from(*most))
                    .map_or_else(|| "larger".to_owned(), |side| side.to_string())
            }
            Self::Aspect => {
                let (width, height) = size(row);
                match width / height {
                    aspect if aspect < 0.8 => "portrait",
                    aspect if aspect > 1.25 => "landscape",
                    _ => "square",
                }
                .to_owned()
            }
        }
    }
}

/// Size of a row's bucket, or of its image.
fn size(row: &Row) -> (f64, f64) {
    let bucket = row.other.get("bucket").and_then(Value::as_array);
    let side = |index: usize, own: Option<u32>| {
        let bucket = bucket.and_then(|bucket| bucket.get(index)?.as_f64());
        bucket
            .unwrap_or_else(|| own.map_or(1.0, f64::from))
            .max(1.0)
    };
    (side(0, row.width), side(1, row.height))
}

fn table(counts: &BTreeMap<Cell, f64>, factors: &BTreeMap<Cell, f64>, scale: f64) -> String {
    let mut text = String::new();
    for (cell, count) in counts {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:<48} {count:>9}  x {:.3}",
            cell.join(", "),
            factors[cell] * scale
        );
    }
    text
}
