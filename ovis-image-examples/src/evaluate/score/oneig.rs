//! OneIG-Bench: its text from readings, its other dimensions from the result files of the official
//! scripts.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use ovis_image::evaluation::longtext::Language;
use ovis_image::evaluation::oneig::{TextMetrics, TextScore, score};
use ovis_image::evaluation::{Mode, bootstrap_interval};

use super::oneig_results::{Dimension, OneIgResults, overall};
use super::{PromptScore, Share, name_of};
use crate::evaluate::prompts::{self, OneIgText};
use crate::evaluate::readings::{Readings, last_parts};
use crate::evaluate::report::{Figures, Report};

/// Folders of the other categories, whose images have the same names.
const OTHER_CLASSES: [&str; 5] = ["anime", "human", "object", "reasoning", "multilingualism"];

/// Lengths of prompts in `OneIG-Bench.csv`.
const LENGTHS: [&str; 3] = ["short", "middle", "long"];

/// Where the benchmark's texts and images are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) readings: &'a Path,
    pub(super) prompts: &'a Path,
    /// Number of images per prompt.
    pub(super) images: usize,
    pub(super) language: Language,
    pub(super) mode: Mode,
}

/// Text of a prompt with the scores of its images.
struct Scored {
    text: OneIgText,
    readings: Vec<Option<String>>,
    scores: Vec<TextScore>,
}

/// Scores the text of all images, `text/ovis-image/000.webp` and so on. Also returns the images
/// that belong to no prompt.
fn scored(source: Source<'_>) -> Result<(Vec<Scored>, Vec<String>)> {
    let texts = prompts::oneig_texts(source.prompts, source.language)?;
    let mut readings = Readings::open_parts(source.readings, |image, part| {
        let id = last_parts(image, 1)?.concat();
        let class = last_parts(image, 3).map(|parts| parts[0]);
        let is_other = class.is_some_and(|class| OTHER_CLASSES.contains(&class));
        (!is_other).then(|| key(&id, part))
    })?;
    let mut all = Vec::with_capacity(texts.len());
    for text in texts {
        let mut of_text = Vec::with_capacity(source.images);
        for image in 0..source.images {
            let lines = readings.take(&key(&text.id, image)).flatten();
            of_text.push(lines.map(|lines| lines.join("\n")));
        }
        let score_of = |reading: &Option<String>| {
            score(&text.cell, reading.as_deref(), source.language, source.mode)
        };
        all.push(Scored {
            scores: of_text.iter().map(score_of).collect(),
            readings: of_text,
            text,
        });
    }
    Ok((all, readings.ignored()))
}

fn key(id: &str, image: usize) -> String {
    format!("{id}/{image}")
}

/// Scores the text of the images, prompt by prompt.
///
/// # Errors
/// Returns an error if the readings or the texts cannot be used.
pub(super) fn by_prompt(source: Source<'_>) -> Result<Vec<PromptScore>> {
    let (all, _) = scored(source)?;
    let of_prompt = |scored: Scored| {
        let sum = |count: fn(&TextScore) -> usize| -> f64 {
            scored.scores.iter().map(|score| count(score) as f64).sum()
        };
        let read: Vec<String> = scored.readings.iter().flatten().cloned().collect();
        PromptScore {
            image: PathBuf::from(format!("{}.webp", scored.text.id)),
            shares: vec![
                Share {
                    metric: "word_accuracy",
                    part: sum(|score| score.matched),
                    whole: sum(|score| score.expected),
                },
                Share {
                    metric: "completion_rate",
                    part: sum(|score| usize::from(score.edit_distance == 0)),
                    whole: scored.scores.len() as f64,
                },
            ],
            expected: scored.text.cell,
            reading: (!read.is_empty()).then(|| read.join(" | ")),
        }
    };
    Ok(all.into_iter().map(of_prompt).collect())
}

/// Scores the text of the images, and all dimensions if there are results of the others.
///
/// # Errors
/// Returns an error if the readings, the texts or the results cannot be used.
pub(super) fn report(source: Source<'_>, results: Option<&OneIgResults>) -> Result<Report> {
    let (all, mut ignored) = scored(source)?;
    let mut total = figures(&all.iter().collect::<Vec<_>>(), source.language);
    let mut groups = Vec::new();
    if source.language == Language::English {
        groups.push(("lengths", lengths(&all, source)?));
    }
    if let Some(results) = results {
        let others = results.read(source.prompts, source.language)?;
        let of_texts = all.iter().map(|scored| scored.scores.as_slice());
        let metric = overall(&of_texts.collect::<Vec<_>>(), &others, source.language);
        total.metrics.insert(0, metric);
        groups.push((
            "dimensions",
            others.iter().map(Dimension::figures).collect(),
        ));
        ignored.extend(others.into_iter().flat_map(|dimension| dimension.ignored));
    }
    Ok(Report {
        benchmark: "oneig",
        mode: name_of(source.mode),
        reader: None,
        total,
        groups,
        ignored,
        notes: Vec::new(),
    })
}

/// Computes the figures by the length of the English prompts.
fn lengths(all: &[Scored], source: Source<'_>) -> Result<Vec<(String, Figures)>> {
    let prompts = prompts::oneig(source.prompts)?;
    let of_text = prompts.iter().filter(|prompt| prompt.class == "text");
    let by_id: HashMap<&str, &str> = of_text
        .filter_map(|prompt| Some((prompt.id.as_str(), prompt.length.as_deref()?)))
        .collect();
    let groups = LENGTHS.map(|length| {
        let has_length = |scored: &&Scored| by_id.get(scored.text.id.as_str()) == Some(&length);
        (length, all.iter().filter(has_length).collect::<Vec<_>>())
    });
    let present = groups.into_iter().filter(|(_, texts)| !texts.is_empty());
    Ok(present
        .map(|(length, texts)| (length.to_owned(), figures(&texts, source.language)))
        .collect())
}

fn figures(texts: &[&Scored], language: Language) -> Figures {
    let metrics_of = |texts: &[&&Scored]| {
        TextMetrics::new(texts.iter().flat_map(|scored| &scored.scores), language)
    };
    let metrics = metrics_of(&texts.iter().collect::<Vec<_>>());
    let metric = |name, value: fn(TextMetrics) -> f64| {
        let interval = bootstrap_interval(texts, |drawn| value(metrics_of(drawn)));
        (name, value(metrics), interval.map(<[f64; 2]>::from))
    };
    let sum = |count: fn(&TextScore) -> usize| {
        let scores = texts.iter().flat_map(|scored| &scored.scores);
        scores.map(count).sum()
    };
    let readings = || texts.iter().flat_map(|scored| &scored.readings);
    Figures {
        metrics: vec![
            metric("text", |metrics| metrics.score),
            metric("edit_distance", |metrics| metrics.edit_distance),
            metric("completion_rate", |metrics| metrics.completion_rate),
            metric("word_accuracy", |metrics| metrics.word_accuracy),
        ],
        counts: vec![
            ("expected", sum(|score| score.expected)),
            ("matched", sum(|score| score.matched)),
        ],
        covered: readings().flatten().count(),
        expected: readings().count(),
    }
}
