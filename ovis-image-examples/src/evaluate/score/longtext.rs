//! LongText-Bench from readings.

use std::path::Path;

use anyhow::Result;
use ovis_image::evaluation::longtext::{Language, MatchCount, score, text_accuracy};
use ovis_image::evaluation::{Mode, bootstrap_interval};

use super::{LanguageName, name_of};
use crate::evaluate::prompts;
use crate::evaluate::readings::{Readings, last_parts};
use crate::evaluate::report::{Figures, Report};

/// Scores the images of the benchmark: `ID.png`, or `ID_K.png` for several of a prompt.
///
/// # Errors
/// Returns an error if the readings or the prompts cannot be used.
pub(super) fn report(
    readings: &Path,
    prompts: &Path,
    language: LanguageName,
    mode: Mode,
) -> Result<Report> {
    let (language, file) = match language {
        LanguageName::En => (Language::English, "text_prompts.jsonl"),
        LanguageName::Zh => (Language::Chinese, "text_prompts_zh.jsonl"),
    };
    let prompts = prompts::longtext(prompts, file)?;
    let mut readings = Readings::open(readings, |image| {
        last_parts(image, 1).map(|parts| parts.concat())
    })?;
    let (mut counts, mut covered) = (Vec::new(), 0);
    for prompt in &prompts {
        let id = prompt.prompt_id.to_string();
        let images = readings.take_all(|key| key.split('_').next() == Some(&id));
        let read: Vec<String> = images
            .into_iter()
            .flatten()
            .map(|lines| lines.join("\n"))
            .collect();
        covered += usize::from(!read.is_empty());
        let counted = read.iter().map(|reading| Some(reading.as_str()));
        let missing = read.is_empty().then_some(None);
        for reading in counted.chain(missing) {
            counts.push(score(&prompt.text, reading, language, mode));
        }
    }
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
        ignored: readings.ignored(),
    })
}

fn totals(counts: &[MatchCount]) -> Vec<(&'static str, usize)> {
    vec![
        ("expected", counts.iter().map(|count| count.expected).sum()),
        ("matched", counts.iter().map(|count| count.matched).sum()),
    ]
}
