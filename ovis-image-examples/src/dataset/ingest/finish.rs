//! Turns measured parts into the manifest and the list of dropped rows. Two passes over the parts:
//! the first holds a fingerprint of each row, the second writes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use rayon::prelude::*;
use serde::Serialize;

use super::captions;
use super::duplicates::{self, DuplicateArguments, Fingerprint};
use super::filters::RowFilter;
use super::joins::Joins;
use super::perceptual_hash::to_hex;
use super::reason::{Dropped, Reason};
use super::worker::Measured;
use crate::dataset::manifest::{JsonLine, JsonLines, LineWriter, ManifestError, Row, hash};

/// Number of rows that are judged at once.
const CHUNK: usize = 4096;

/// Maximum number of caption features of a row.
const MOST_FEATURES: usize = 48;

/// Rules that decide whether a row is kept.
#[derive(Debug)]
pub(super) struct Rules<'a> {
    /// Filters of one row.
    pub filter: RowFilter<'a>,
    /// Scores and recaptions.
    pub joins: Joins<'a>,
    /// Near-duplicates.
    pub duplicates: &'a DuplicateArguments,
    /// Maximum number of images with the same caption.
    pub max_repeats: u32,
    /// Source of rows that name none.
    pub source: Option<&'a str>,
    /// License of rows that name none.
    pub license: Option<&'a str>,
}

/// Number of rows by outcome.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Counts {
    /// Number of rows in the manifest.
    pub kept: u64,
    /// Number of dropped rows by reason.
    pub dropped: BTreeMap<Reason, u64>,
}

/// A row of `dropped.jsonl`.
#[derive(Serialize)]
struct DroppedRow<'a> {
    #[serde(flatten)]
    dropped: &'a Dropped,
    #[serde(flatten)]
    row: &'a Row,
}

/// Summary of a row that passed its own filters.
struct Brief {
    id: Box<str>,
    caption: u64,
    fingerprint: Fingerprint,
}

/// Verdict on a row after its comparison with the other rows.
#[derive(Clone, Copy)]
enum Verdict {
    Kept,
    /// The row's own filters drop it.
    Filtered,
    DuplicateId,
    Repeated(u32),
    Duplicate(u32),
}

/// Writes the manifest and the list of dropped rows.
///
/// # Errors
/// Returns the errors of reading and writing files.
pub(super) fn finish(parts: &[PathBuf], rules: &Rules<'_>, output: &Path) -> Result<Counts> {
    let mut briefs: Vec<Option<Brief>> = Vec::new();
    for_chunks(parts, |chunk| {
        let judged: Vec<Result<Option<Brief>>> = chunk
            .into_par_iter()
            .map(|measured| Ok(rules.judge(measured)?.ok().map(|row| brief(&row))))
            .collect();
        for brief in judged {
            briefs.push(brief?);
        }
        Ok(())
    })?;
    let verdicts = compare(&mut briefs, rules);
    let mut kept = LineWriter::create(&output.join("manifest.jsonl"))?;
    let mut dropped = LineWriter::create(&output.join("dropped.jsonl"))?;
    let mut counts = Counts::default();
    let mut at = 0;
    for_chunks(parts, |chunk| {
        let first = at;
        at += chunk.len();
        let verdicts = &verdicts[first..at];
        let judged: Vec<Result<(Row, Option<Dropped>)>> = chunk
            .into_par_iter()
            .zip(verdicts)
            .map(|(measured, verdict)| rules.decide(measured, *verdict, &briefs))
            .collect();
        for result in judged {
            let (row, reason) = result?;
            if let Some(reason) = reason {
                *counts.dropped.entry(reason.reason).or_default() += 1;
                dropped.write(&DroppedRow {
                    dropped: &reason,
                    row: &row,
                })?;
            } else {
                counts.kept += 1;
                kept.write(&row)?;
            }
        }
        Ok(())
    })?;
    dropped.finish()?;
    kept.finish()?;
    Ok(counts)
}

/// Reads parts in chunks of rows.
fn for_chunks(parts: &[PathBuf], mut work: impl FnMut(Vec<Measured>) -> Result<()>) -> Result<()> {
    let mut lines: Vec<(usize, JsonLine)> = Vec::with_capacity(CHUNK);
    let mut flush = |lines: &mut Vec<(usize, JsonLine)>| -> Result<()> {
        let rows: Result<Vec<Measured>, ManifestError> = lines
            .par_drain(..)
            .map(|(part, line)| parse(&parts[part], line))
            .collect();
        work(rows?)
    };
    for (index, part) in parts.iter().enumerate() {
        for line in JsonLines::open(part)? {
            lines.push((index, line?));
            if lines.len() == CHUNK {
                flush(&mut lines)?;
            }
        }
    }
    flush(&mut lines)
}

fn parse(part: &Path, line: JsonLine) -> Result<Measured, ManifestError> {
    let parsed = line
        .bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()));
    parsed.map_err(|reason| ManifestError::Line {
        path: part.to_owned(),
        line: line.number,
        reason: format!("{reason}: delete the folder of this file and run again"),
    })
}

impl Rules<'_> {
    /// Completes a row and applies the filters that look at it alone.
    fn judge(&self, measured: Measured) -> Result<Result<Row, (Row, Dropped)>> {
        let Measured {
            mut row,
            measures,
            dropped,
        } = measured;
        let named = |own: &mut Option<String>, given: Option<&str>| {
            if own.is_none() {
                *own = given.map(str::to_owned);
            }
        };
        named(&mut row.source, self.source);
        named(&mut row.license, self.license);
        let Some(measures) = measures else {
            let missing = || Dropped::new(Reason::Unreadable, "it was not measured");
            return Ok(Err((row, dropped.unwrap_or_else(missing))));
        };
        (row.width, row.height) = (Some(measures.width), Some(measures.height));
        row.phash = Some(to_hex(measures.phash));
        row.other
            .insert("contrast".to_owned(), measures.contrast.into());
        row.other
            .insert("sharpness".to_owned(), measures.sharpness.into());
        self.joins.join(&mut row)?;
        let checked = self
            .filter
            .check(&mut row, &measures)
            .and_then(|()| self.joins.check(&row));
        Ok(match checked {
            Ok(()) => Ok(row),
            Err(dropped) => Err((row, dropped)),
        })
    }

    fn decide(
        &self,
        measured: Measured,
        verdict: Verdict,
        briefs: &[Option<Brief>],
    ) -> Result<(Row, Option<Dropped>)> {
        let row = match self.judge(measured)? {
            Ok(row) => row,
            Err((row, dropped)) => return Ok((row, Some(dropped))),
        };
        let dropped = match verdict {
            Verdict::Kept | Verdict::Filtered => None,
            Verdict::DuplicateId => {
                let detail = "an earlier row has this id";
                Some(Dropped::new(Reason::DuplicateId, detail))
            }
            Verdict::Repeated(count) => {
                let detail = format!("{count} images have this caption");
                Some(Dropped::new(Reason::CaptionRepeated, detail))
            }
            Verdict::Duplicate(original) => {
                let original = briefs[original as usize].as_ref();
                let id = original.map_or("", |brief| &brief.id);
                Some(Dropped::new(Reason::Duplicate, format!("of `{id}`")))
            }
        };
        Ok((row, dropped))
    }
}

fn brief(row: &Row) -> Brief {
    let all: Vec<&str> = captions::of(row).collect();
    let all = all.join("\n");
    let mut texts: Vec<&str> = row.texts.iter().map(|text| text.text.trim()).collect();
    texts.sort_unstable();
    let caption = captions::normalized(&all);
    Brief {
        id: row.id.as_str().into(),
        caption: if caption.is_empty() {
            0
        } else {
            hash(&caption)
        },
        fingerprint: Fingerprint {
            phash: row
                .phash
                .as_deref()
                .and_then(super::perceptual_hash::from_hex)
                .unwrap_or(0),
            pixels: u64::from(row.width.unwrap_or(0)) * u64::from(row.height.unwrap_or(0)),
            texts: if texts.is_empty() {
                0
            } else {
                hash(&texts.join("\0"))
            },
            features: captions::features(&all, MOST_FEATURES),
        },
    }
}

/// Compares rows with one another: ids, then repeated captions, then duplicates.
fn compare(briefs: &mut [Option<Brief>], rules: &Rules<'_>) -> Vec<Verdict> {
    let mut verdicts = vec![Verdict::Filtered; briefs.len()];
    let mut ids = HashSet::new();
    let mut captions: HashMap<u64, u32> = HashMap::new();
    for (verdict, brief) in verdicts.iter_mut().zip(briefs.iter()) {
        let Some(brief) = brief else {
            continue;
        };
        if ids.insert(hash(&brief.id)) {
            *verdict = Verdict::Kept;
            *captions.entry(brief.caption).or_default() += 1;
        } else {
            *verdict = Verdict::DuplicateId;
        }
    }
    // Rows without a caption do not repeat one another.
    captions.remove(&0);
    let mut compared: Vec<Option<Fingerprint>> = Vec::with_capacity(briefs.len());
    for (verdict, brief) in verdicts.iter_mut().zip(briefs.iter_mut()) {
        let Some(brief) = brief else {
            compared.push(None);
            continue;
        };
        let repeats = captions.get(&brief.caption).copied().unwrap_or(0);
        if matches!(verdict, Verdict::Kept) && repeats > rules.max_repeats {
            *verdict = Verdict::Repeated(repeats);
        }
        let is_kept = matches!(verdict, Verdict::Kept);
        compared.push(is_kept.then(|| Fingerprint {
            features: std::mem::take(&mut brief.fingerprint.features),
            ..brief.fingerprint
        }));
    }
    let duplicates = duplicates::find(&compared, rules.duplicates);
    for (verdict, original) in verdicts.iter_mut().zip(duplicates) {
        if let Some(original) = original {
            *verdict = Verdict::Duplicate(original);
        }
    }
    verdicts
}
