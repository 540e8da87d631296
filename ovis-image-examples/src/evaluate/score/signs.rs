//! Signs from readings and images.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use ovis_image::evaluation::bootstrap_interval;
use ovis_image::evaluation::signs::{SignColors, SignScore, colors, score};

use super::{PromptScore, Share};
use crate::evaluate::prompts;
use crate::evaluate::readings::{Readings, last_parts};
use crate::evaluate::report::{Figures, Report};
use crate::evaluate::signs::SignPrompt;
use crate::shared::usage::UsageError;
use crate::typography::nearest_color;

/// Numbers of characters of the groups, spaces not counted.
const LENGTHS: [(&str, RangeInclusive<usize>); 4] = [
    ("3-4", 3..=4),
    ("5-7", 5..=7),
    ("8-10", 8..=10),
    ("11-14", 11..=14),
];

/// Image of a prompt with its scores.
struct Scored {
    text: String,
    characters: usize,
    /// Number of lines of the text.
    lines: usize,
    reading: Option<String>,
    score: SignScore,
    /// Whether ground and text have the colors of the prompt, if the image was opened.
    colors: Option<[bool; 2]>,
}

/// Scores the images of the benchmark, `0000.png` and so on, and the colors in the images of a
/// folder. Also returns the images that belong to no prompt.
fn scored(
    readings: &Path,
    prompts: &Path,
    images: Option<&Path>,
) -> Result<(Vec<Scored>, Vec<String>)> {
    let prompts = prompts::signs(prompts)?;
    let mut readings = Readings::open(readings, |image| {
        last_parts(image, 1).map(|parts| parts.concat())
    })?;
    if let Some(folder) = images {
        ensure!(
            folder.is_dir(),
            UsageError::new("--images must be the folder of the images")
        );
    }
    let palette: BTreeSet<&str> = prompts
        .iter()
        .flat_map(|prompt| [prompt.text_color.as_str(), prompt.ground_color.as_str()])
        .collect();
    let palette: Vec<&str> = palette.into_iter().collect();
    let mut scored = Vec::with_capacity(prompts.len());
    for (index, prompt) in prompts.iter().enumerate() {
        let lines = readings.take(&format!("{index:04}")).flatten();
        let path = images.map(|folder| folder.join(format!("{index:04}.png")));
        scored.push(Scored {
            text: prompt.text.clone(),
            characters: prompt.text.chars().filter(|c| !c.is_whitespace()).count(),
            lines: prompt.text.split(' ').count(),
            score: score(&prompt.text, lines.as_deref()),
            reading: lines.map(|lines| lines.join(" ")),
            colors: path.map(|path| colors_agree(&path, prompt, &palette)),
        });
    }
    Ok((scored, readings.ignored()))
}

/// Scores the images of the benchmark, prompt by prompt.
///
/// # Errors
/// Returns an error if the readings or the prompts cannot be used.
pub(super) fn by_prompt(
    readings: &Path,
    prompts: &Path,
    images: Option<&Path>,
) -> Result<Vec<PromptScore>> {
    let (signs, _) = scored(readings, prompts, images)?;
    let of_sign = |(index, sign): (usize, Scored)| {
        let mut shares = vec![
            Share::of_mean("exact", f64::from(sign.score.exact)),
            Share::of_mean("ned", sign.score.similarity),
        ];
        if let Some([ground, text]) = sign.colors {
            shares.push(Share::of_mean("ground_color", f64::from(ground)));
            shares.push(Share::of_mean("text_color", f64::from(text)));
        }
        PromptScore {
            image: PathBuf::from(format!("{index:04}.png")),
            expected: sign.text,
            reading: sign.reading,
            shares,
        }
    };
    Ok(signs.into_iter().enumerate().map(of_sign).collect())
}

/// Scores the images of the benchmark.
///
/// # Errors
/// Returns an error if the readings or the prompts cannot be used.
pub(super) fn report(readings: &Path, prompts: &Path, images: Option<&Path>) -> Result<Report> {
    let (scored, ignored) = scored(readings, prompts, images)?;
    Ok(Report {
        benchmark: "signs",
        mode: "strict",
        reader: None,
        total: figures(&scored.iter().collect::<Vec<_>>()),
        groups: groups(&scored),
        ignored,
        notes: Vec::new(),
    })
}

fn groups(scored: &[Scored]) -> Vec<(&'static str, Vec<(String, Figures)>)> {
    let group = |keeps: &dyn Fn(&Scored) -> bool| -> Vec<&Scored> {
        scored.iter().filter(|image| keeps(image)).collect()
    };
    let of_lengths = LENGTHS.into_iter().map(|(name, range)| {
        let images = group(&|image| range.contains(&image.characters));
        (name.to_owned(), images)
    });
    let of_lines = [1, 2]
        .into_iter()
        .map(|lines| (lines.to_string(), group(&|image| image.lines == lines)));
    let present = |groups: Vec<(String, Vec<&Scored>)>| -> Vec<(String, Figures)> {
        let present = groups.into_iter().filter(|(_, images)| !images.is_empty());
        present
            .map(|(name, images)| (name, figures(&images)))
            .collect()
    };
    vec![
        ("characters", present(of_lengths.collect())),
        ("lines", present(of_lines.collect())),
    ]
}

/// Returns whether ground and text of an image have the colors of the prompt. An image that cannot
/// be read has none.
fn colors_agree(path: &Path, prompt: &SignPrompt, palette: &[&str]) -> [bool; 2] {
    let Ok(image) = image::open(path) else {
        return [false; 2];
    };
    let pixels: Vec<[u8; 3]> = image.into_rgb8().pixels().map(|pixel| pixel.0).collect();
    let Some(SignColors { ground, text, .. }) = colors(&pixels) else {
        return [false; 2];
    };
    let is = |rgb, name: &str| nearest_color(rgb, palette) == Some(name);
    [
        is(ground, &prompt.ground_color),
        text.is_some_and(|text| is(text, &prompt.text_color)),
    ]
}

fn figures(images: &[&Scored]) -> Figures {
    let mean = |value: fn(&Scored) -> f64| {
        let of = move |images: &[&&Scored]| {
            images.iter().map(|image| value(image)).sum::<f64>() / images.len().max(1) as f64
        };
        let all: Vec<&&Scored> = images.iter().collect();
        (
            of(&all),
            bootstrap_interval(images, of).map(<[f64; 2]>::from),
        )
    };
    let metric = |name, value| {
        let (mean, interval) = mean(value);
        (name, mean, interval)
    };
    let mut metrics = vec![
        metric("exact", |image| f64::from(image.score.exact)),
        metric("ned", |image| image.score.similarity),
    ];
    if images.iter().any(|image| image.colors.is_some()) {
        metrics.push(metric("ground_color", |image| {
            f64::from(image.colors.is_some_and(|[ground, _]| ground))
        }));
        metrics.push(metric("text_color", |image| {
            f64::from(image.colors.is_some_and(|[_, text]| text))
        }));
    }
    Figures {
        metrics,
        counts: vec![(
            "exact_images",
            images.iter().filter(|image| image.score.exact).count(),
        )],
        covered: images
            .iter()
            .filter(|image| image.reading.is_some())
            .count(),
        expected: images.len(),
    }
}
