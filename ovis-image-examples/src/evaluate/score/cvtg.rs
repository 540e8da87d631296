//! CVTG-2K from readings.

use std::path::{Path, PathBuf};

use anyhow::Result;
use ovis_image::evaluation::cvtg::{
    WordScores, normalized_similarity, quoted_words, score, word_accuracy,
};
use ovis_image::evaluation::{Mode, bootstrap_interval};

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
}

/// Scores the images of the benchmark. Also returns the images that belong to no prompt.
fn scored(readings: &Path, folder: &Path, mode: Mode) -> Result<(Vec<Scored>, Vec<String>)> {
    let prompts = prompts::cvtg(folder)?;
    let mut readings = Readings::open(readings, |image| {
        last_parts(image, 3).map(|parts| parts.join("/"))
    })?;
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
        });
    }
    Ok((images, readings.ignored()))
}

/// Scores the images of the benchmark, prompt by prompt.
///
/// # Errors
/// Returns an error if the readings or the prompts cannot be used.
pub(super) fn by_prompt(readings: &Path, folder: &Path, mode: Mode) -> Result<Vec<PromptScore>> {
    let (images, _) = scored(readings, folder, mode)?;
    let of_image = |image: Scored| {
        let words = image.scores.words() as f64;
        let share = |metric, part| Share {
            metric,
            part,
            whole: words,
        };
        PromptScore {
            image: PathBuf::from(format!("{}/{}.png", image.set, image.index)),
            expected: image.expected.join(" "),
            reading: image.lines.map(|lines| lines.join(" ")),
            shares: vec![
                share("word_accuracy", image.scores.correct as f64),
                share("ned", image.scores.similarities.iter().sum()),
            ],
        }
    };
    Ok(images.into_iter().map(of_image).collect())
}

/// Scores the images of the benchmark.
///
/// # Errors
/// Returns an error if the readings or the prompts cannot be used.
pub(super) fn report(readings: &Path, folder: &Path, mode: Mode) -> Result<Report> {
    let (images, ignored) = scored(readings, folder, mode)?;
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
        total: figures(&images.iter().collect::<Vec<_>>()),
        groups: vec![("regions", groups(regions)), ("sets", groups(sets))],
        ignored,
        notes: Vec::new(),
    })
}

fn groups<'s>(
    groups: impl IntoIterator<Item = (String, Vec<&'s Scored>)>,
) -> Vec<(String, Figures)> {
    let present = groups.into_iter().filter(|(_, images)| !images.is_empty());
    present
        .map(|(name, images)| (name, figures(&images)))
        .collect()
}

fn figures(images: &[&Scored]) -> Figures {
    let scores = || images.iter().map(|image| &image.scores);
    let interval = |statistic: fn(&[&&Scored]) -> f64| {
        bootstrap_interval(images, statistic).map(<[f64; 2]>::from)
    };
    Figures {
        metrics: vec![
            (
                "word_accuracy",
                word_accuracy(scores()),
                interval(|drawn| word_accuracy(drawn.iter().map(|image| &image.scores))),
            ),
            (
                "ned",
                normalized_similarity(scores()),
                interval(|drawn| normalized_similarity(drawn.iter().map(|image| &image.scores))),
            ),
        ],
        counts: vec![
            ("words", scores().map(WordScores::words).sum()),
            ("correct_words", scores().map(|score| score.correct).sum()),
        ],
        covered: images.iter().filter(|image| image.lines.is_some()).count(),
        expected: images.len(),
    }
}
