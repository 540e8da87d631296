//! CVTG-2K from readings and CLIP scores.

use std::path::{Path, PathBuf};

use anyhow::Result;
use ovis_image::evaluation::cvtg::{
    WordScores, normalized_similarity, quoted_words, score, word_accuracy,
};
use ovis_image::evaluation::{Mode, bootstrap_interval};

use super::clip_scores::ClipScores;
use super::{PromptScore, Share, name_of};
use crate::evaluate::prompts;
use crate::evaluate::readings::{Readings, last_parts};
use crate::evaluate::report::{Figures, Report};

/// Image of a prompt with its scores.
struct Scored {
    set: String,
    index: String,
    regions: &'static str,
    expected: Vec<String>,
    lines: Option<Vec<String>>,
    scores: WordScores,
    clip_score: Option<f64>,
}

/// Returns the key of an image, such as `CVTG/2/0`.
fn key_of(image: &str) -> Option<String> {
    last_parts(image, 3).map(|parts| parts.join("/"))
}

/// Scores the images of the benchmark. Also returns the images that belong to no prompt.
fn scored(readings: &Path, folder: &Path, mode: Mode) -> Result<(Vec<Scored>, Vec<String>)> {
    let prompts = prompts::cvtg(folder)?;
    let mut readings = Readings::open(readings, key_of)?;
    let mut images = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        let expected = quoted_words(&prompt.prompt, mode);
        let reading = readings.take(&format!("{}/{}", prompt.set, prompt.index));
        let lines = reading.flatten();
        images.push(Scored {
            set: prompt.set,
            index: prompt.index,
            regions: prompt.regions,
            scores: score(&expected, lines.as_deref(), mode),
            expected,
            lines,
            clip_score: None,
        });
    }
    Ok((images, readings.ignored()))
}

/// Scores the images of the benchmark, prompt by prompt, with their CLIPScore if `clip_scores` is
/// the path of a file.
///
/// # Errors
/// Returns an error if the readings, the prompts or the CLIP scores cannot be used.
pub(super) fn by_prompt(
    readings: &Path,
    folder: &Path,
    mode: Mode,
    clip_scores: Option<&Path>,
) -> Result<Vec<PromptScore>> {
    let (mut images, mut ignored) = scored(readings, folder, mode)?;
    if let Some(path) = clip_scores {
        add_clip_scores(&mut images, &mut ignored, path)?;
    }
    let of_image = |image: Scored| {
        let words = image.scores.words() as f64;
        let share = |metric, part| Share {
            metric,
            part,
            whole: words,
        };
        let mut shares = vec![
            share("word_accuracy", image.scores.correct as f64),
            share("ned", image.scores.similarities.iter().sum()),
        ];
        if clip_scores.is_some() {
            let score = image.clip_score.unwrap_or(0.0);
            shares.push(Share::of_mean("clip_score", score));
        }
        PromptScore {
            image: PathBuf::from(format!("{}/{}.png", image.set, image.index)),
            expected: image.expected.join(" "),
            reading: image.lines.map(|lines| lines.join(" ")),
            shares,
        }
    };
    Ok(images.into_iter().map(of_image).collect())
}

/// Adds the CLIP scores of a file to the images, and its images that belong to no prompt to those
/// of the readings. Returns a note if images have no score.
fn add_clip_scores(
    images: &mut [Scored],
    ignored: &mut Vec<String>,
    path: &Path,
) -> Result<Option<String>> {
    let mut scores = ClipScores::open(path, key_of)?;
    for image in images.iter_mut() {
        let score = scores.take(&format!("{}/{}", image.set, image.index));
        image.clip_score = score.flatten();
    }
    ignored.extend(scores.ignored());
    ignored.sort();
    ignored.dedup();
    let missing = images.iter().filter(|image| image.clip_score.is_none());
    let missing = missing.count();
    Ok((missing > 0).then(|| {
        let all = images.len();
        format!("{missing} of {all} images have no CLIP score, which counts as 0")
    }))
}

/// Scores the images of the benchmark. `clip_scores` is the path of a file of CLIP scores; if it is
/// `None`, the result has no CLIPScore.
///
/// # Errors
/// Returns an error if the readings, the prompts or the CLIP scores cannot be used.
pub(super) fn report(
    readings: &Path,
    folder: &Path,
    mode: Mode,
    clip_scores: Option<&Path>,
) -> Result<Report> {
    let (mut images, mut ignored) = scored(readings, folder, mode)?;
    let note = clip_scores
        .map(|path| add_clip_scores(&mut images, &mut ignored, path))
        .transpose()?;
    let has_clip = note.is_some();
    let regions = ["2", "3", "4", "5"].map(|regions| {
        let of_region = images.iter().filter(|image| image.regions == regions);
        (regions.to_owned(), of_region.collect::<Vec<_>>())
    });
    let mut sets: Vec<(String, Vec<&Scored>)> = Vec::new();
    for image in &images {
        match sets.last_mut() {
            Some((set, of_set)) if *set == image.set => of_set.push(image),
            _ => sets.push((image.set.clone(), vec![image])),
        }
    }
    Ok(Report {
        benchmark: "cvtg",
        mode: name_of(mode),
        reader: None,
        total: figures(&images.iter().collect::<Vec<_>>(), has_clip),
        groups: vec![
            ("regions", groups(regions, has_clip)),
            ("sets", groups(sets, has_clip)),
        ],
        ignored,
        notes: note.flatten().into_iter().collect(),
    })
}

fn groups<'s>(
    groups: impl IntoIterator<Item = (String, Vec<&'s Scored>)>,
    has_clip: bool,
) -> Vec<(String, Figures)> {
    let present = groups.into_iter().filter(|(_, images)| !images.is_empty());
    present
        .map(|(name, images)| (name, figures(&images, has_clip)))
        .collect()
}

/// Computes the figures of some images, with their mean CLIPScore if `has_clip`.
fn figures(images: &[&Scored], has_clip: bool) -> Figures {
    let metric = |name, statistic: fn(&[&&Scored]) -> f64| {
        let all: Vec<&&Scored> = images.iter().collect();
        let interval = bootstrap_interval(images, statistic);
        (name, statistic(&all), interval.map(<[f64; 2]>::from))
    };
    let scores = || images.iter().map(|image| &image.scores);
    let mut figures = Figures {
        metrics: vec![
            metric("word_accuracy", |images| {
                word_accuracy(images.iter().map(|image| &image.scores))
            }),
            metric("ned", |images| {
                normalized_similarity(images.iter().map(|image| &image.scores))
            }),
        ],
        counts: vec![
            ("words", scores().map(WordScores::words).sum()),
            ("correct_words", scores().map(|score| score.correct).sum()),
        ],
        covered: images.iter().filter(|image| image.lines.is_some()).count(),
        expected: images.len(),
    };
    if has_clip {
        figures.metrics.push(metric("clip_score", mean_clip_score));
        let scored = images.iter().filter(|image| image.clip_score.is_some());
        figures.counts.push(("clip_scored_images", scored.count()));
    }
    figures
}

/// Computes the mean CLIPScore. An image without a score counts as 0. (The official script takes
/// the mean over the images that exist.)
fn mean_clip_score(images: &[&&Scored]) -> f64 {
    let scores = images.iter().map(|image| image.clip_score.unwrap_or(0.0));
    scores.sum::<f64>() / images.len().max(1) as f64
}
