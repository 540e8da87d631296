//! LongText-Bench from readings.

use std::path::{Path, PathBuf};

use anyhow::Result;
use ovis_image::evaluation::longtext::{Language, MatchCount, score, text_accuracy};
use ovis_image::evaluation::{Mode, bootstrap_interval};

use super::{LanguageName, PromptScore, Share, name_of};
use crate::evaluate::prompts::{self, LongTextPrompt};
use crate::evaluate::readings::{Readings, last_parts};
use crate::evaluate::report::{Figures, Report};

/// Prompt with the scores of its images: `ID.png`, or `ID_K.png` for several.
struct Scored {
    prompt: LongTextPrompt,
    readings: Vec<String>,
    /// Matches in each reading; without a reading, a single count of zero matches.
    counts: Vec<MatchCount>,
}

/// Scores the images of the benchmark. Also returns the images that belong to no prompt.
fn scored(
    readings: &Path,
    prompts: &Path,
    language: LanguageName,
    mode: Mode,
) -> Result<(Vec<Scored>, Vec<String>)> {
    let (language, file) = match language {
        LanguageName::En => (Language::English, "text_prompts.jsonl"),
        LanguageName::Zh => (Language::Chinese, "text_prompts_zh.jsonl"),
    };
    let prompts = prompts::longtext(prompts, file)?;
    let mut readings = Readings::open(readings, |image| {
        last_parts(image, 1).map(|parts| parts.concat())
    })?;
    let mut all = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        let id = prompt.prompt_id.to_string();
        let images = readings.take_all(|key| key.split('_').next() == Some(&id));
        let read: Vec<String> = images
            .into_iter()
            .flatten()
            .map(|lines| lines.join("\n"))
            .collect();
        let counted = read.iter().map(|reading| Some(reading.as_str()));
        let missing = read.is_empty().then_some(None);
        let counts = counted
            .chain(missing)
            .map(|reading| score(&prompt.text, reading, language, mode))
            .collect();
        all.push(Scored {
            prompt,
            readings: read,
            counts,
        });
    }
    Ok((all, readings.ignored()))
}

/// Scores the images of the benchmark, prompt by prompt.
///
/// # Errors
/// Returns an error if the readings or the prompts cannot be used.
pub(super) fn by_prompt(
    readings: &Path,
    prompts: &Path,
    language: LanguageName,
    mode: Mode,
) -> Result<Vec<PromptScore>> {
    let (prompts, _) = scored(readings, prompts, language, mode)?;
    let of_prompt = |scored: Scored| PromptScore {
        image: PathBuf::from(format!("{}.png", scored.prompt.prompt_id)),
        expected: scored.prompt.text.join(" "),
        reading: (!scored.readings.is_empty()).then(|| scored.readings.join(" | ")),
        shares: vec![Share {
            metric: "text_accuracy",
            part: scored.counts.iter().map(|count| count.matched as f64).sum(),
            whole: scored
                .counts
                .iter()
                .map(|count| count.expected as f64)
                .sum(),
        }],
    };
    Ok(prompts.into_iter().map(of_prompt).collect())
}

/// Scores the images of the benchmark.
///
/// # Errors
/// Returns an error if the readings or the prompts cannot be used.
pub(super) fn report(
    readings: &Path,
    prompts: &Path,
    language: LanguageName,
    mode: Mode,
) -> Result<Report> {
    let (prompts, ignored) = scored(readings, prompts, language, mode)?;
    let read = prompts.iter().filter(|scored| !scored.readings.is_empty());
    let covered = read.count();
    let counts: Vec<MatchCount> = prompts
        .iter()
        .flat_map(|scored| scored.counts.iter().copied())
        .collect();
    let interval = bootstrap_interval(&counts, |drawn| text_accuracy(drawn.iter().copied()));
    Ok(Report {
        benchmark: "longtext",
        mode: name_of(mode),
        reader: None,
        total: Figures {
            metrics: vec![(
                "text_accuracy",
                text_accuracy(&counts),
                interval.map(<[f64; 2]>::from),
            )],
            counts: totals(&counts),
            covered,
            expected: prompts.len(),
        },
        groups: Vec::new(),
        ignored,
        notes: Vec::new(),
    })
}

fn totals(counts: &[MatchCount]) -> Vec<(&'static str, usize)> {
    vec![
        ("expected", counts.iter().map(|count| count.expected).sum()),
        ("matched", counts.iter().map(|count| count.matched).sum()),
    ]
}
