//! GenEval from detections, or from the results of its official scorer.

use std::path::{Path, PathBuf};

use anyhow::Result;
use ovis_image::evaluation::geneval::{Detection, Prompt, is_correct, score};
use ovis_image::evaluation::{Mode, bootstrap_interval};
use serde::Deserialize;

use super::{PromptScore, Share, name_of};
use crate::evaluate::prompts;
use crate::evaluate::readings::{ImageLine, ImageLines, last_parts};
use crate::evaluate::report::{Figures, Report};

/// Line of the file: detections, or a line of `results.jsonl` of the official scorer.
#[derive(Deserialize)]
struct Line {
    #[serde(alias = "filename")]
    image: String,
    objects: Option<Vec<Detection>>,
    correct: Option<bool>,
    /// Task and text of the prompt, in results of the official scorer.
    tag: Option<String>,
    prompt: Option<String>,
    error: Option<String>,
}

/// Content of a line about an image.
struct Judgment {
    verdict: Verdict,
    tag: Option<String>,
    prompt: Option<String>,
}

enum Verdict {
    Objects(Vec<Detection>),
    Correct(bool),
}

/// Prompt with its images.
struct Scored {
    prompt: Prompt,
    /// True for each image that is correct; `None` if it was not judged.
    images: Vec<Option<bool>>,
}

impl Scored {
    fn correct(&self) -> impl Iterator<Item = bool> {
        self.images.iter().map(|image| image.unwrap_or(false))
    }

    fn number_correct(&self) -> usize {
        self.correct().filter(|correct| *correct).count()
    }

    fn number_judged(&self) -> usize {
        self.images.iter().flatten().count()
    }
}

/// Scores the images of the benchmark, `00000/samples/0000.png` and so on. Also returns the images
/// that belong to no prompt.
fn scored(readings: &Path, prompts: &Path, images: usize) -> Result<(Vec<Scored>, Vec<String>)> {
    let prompts = prompts::geneval_objects(prompts)?;
    let mut lines = ImageLines::read(readings, judgment)?;
    let mut all = Vec::with_capacity(prompts.len());
    for (index, prompt) in prompts.into_iter().enumerate() {
        let mut judged = Vec::with_capacity(images);
        for image in 0..images {
            let Some(found) = lines.take_line(&key(index, image)) else {
                judged.push(None);
                continue;
            };
            let verdict = found.content.map(|judgment| verdict(&prompt, &judgment));
            let verdict = verdict.transpose();
            judged.push(verdict.map_err(|reason| lines.error(found.line, reason))?);
        }
        all.push(Scored {
            prompt,
            images: judged,
        });
    }
    Ok((all, lines.ignored()))
}

fn judgment(line: &[u8]) -> Result<ImageLine<Judgment>, String> {
    let line: Line = serde_json::from_slice(line).map_err(|error| {
        format!(r#"it is not a judgment such as {{"image": "…", "objects": []}}: {error}"#)
    })?;
    let verdict = match (line.objects, line.correct) {
        (Some(objects), _) => Some(Verdict::Objects(objects)),
        (None, Some(correct)) => Some(Verdict::Correct(correct)),
        (None, None) if line.error.is_some() => None,
        (None, None) => return Err("it has none of `objects`, `correct` and `error`".to_owned()),
    };
    if let Some(Verdict::Objects(objects)) = &verdict {
        let numbers = |object: &Detection| object.bounds.into_iter().chain([object.score]);
        if !objects.iter().flat_map(numbers).all(f32::is_finite) {
            return Err("a score or a box is not finite".to_owned());
        }
    }
    let (tag, prompt) = (line.tag, line.prompt);
    let content = verdict.map(|verdict| Judgment {
        verdict,
        tag,
        prompt,
    });
    Ok(ImageLine {
        key: key_of(&line.image),
        image: line.image,
        content: content.filter(|_| line.error.is_none()),
    })
}

fn key(prompt: usize, image: usize) -> String {
    format!("{prompt}/{image}")
}

/// Returns the key of `00012/samples/0003.png`. The numbers may have any number of digits, as for
/// the official scorer.
fn key_of(image: &str) -> Option<String> {
    let parts = last_parts(image, 3)?;
    let number = |part: &str| part.parse::<usize>().ok();
    if parts[1] != "samples" {
        return None;
    }
    Some(key(number(parts[0])?, number(parts[2])?))
}

/// Returns whether an image is correct, or why its line is invalid.
fn verdict(prompt: &Prompt, judgment: &Judgment) -> Result<bool, String> {
    let is_other = |said: &Option<String>, text: &str| said.as_deref().is_some_and(|s| s != text);
    if is_other(&judgment.tag, &prompt.task) || is_other(&judgment.prompt, &prompt.prompt) {
        return Err(format!(
            "it is about another prompt than `{}`",
            prompt.prompt
        ));
    }
    match &judgment.verdict {
        Verdict::Correct(correct) => Ok(*correct),
        Verdict::Objects(objects) => is_correct(prompt, objects).map_err(|error| error.to_string()),
    }
}

/// Scores the images of the benchmark, prompt by prompt.
///
/// # Errors
/// Returns an error if the judgments or the prompts cannot be used.
pub(super) fn by_prompt(
    readings: &Path,
    prompts: &Path,
    images: usize,
) -> Result<Vec<PromptScore>> {
    let (all, _) = scored(readings, prompts, images)?;
    let tasks = by_task(&all);
    let of_prompt = |(index, scored): (usize, &Scored)| {
        let of_task = tasks.iter().find(|(task, _)| *task == scored.prompt.task);
        // The score is a mean over tasks, so a prompt counts more in a task of fewer prompts.
        let prompts = of_task.map_or(1, |(_, prompts)| prompts.len());
        let whole = 1.0 / (tasks.len() * prompts) as f64;
        let share = scored.number_correct() as f64 / images as f64;
        PromptScore {
            image: PathBuf::from(format!("{index:05}/samples/0000.png")),
            expected: scored.prompt.prompt.clone(),
            reading: (scored.number_judged() > 0)
                .then(|| format!("{} of {images} correct", scored.number_correct())),
            shares: vec![
                Share {
                    metric: "score",
                    part: whole * share,
                    whole,
                },
                Share::of_mean("image_accuracy", share),
            ],
        }
    };
    Ok(all.iter().enumerate().map(of_prompt).collect())
}

/// Scores the images of the benchmark.
///
/// # Errors
/// Returns an error if the judgments or the prompts cannot be used.
pub(super) fn report(readings: &Path, prompts: &Path, images: usize, mode: Mode) -> Result<Report> {
    let (all, ignored) = scored(readings, prompts, images)?;
    let tasks = by_task(&all).into_iter();
    Ok(Report {
        benchmark: "geneval",
        mode: name_of(mode),
        reader: None,
        total: figures(&all.iter().collect::<Vec<_>>()),
        groups: vec![(
            "tasks",
            tasks
                .map(|(task, prompts)| (task.to_owned(), figures(&prompts)))
                .collect(),
        )],
        ignored,
        notes: Vec::new(),
    })
}

/// Returns the prompts of each task, in the order of the prompts.
fn by_task(all: &[Scored]) -> Vec<(&str, Vec<&Scored>)> {
    let mut tasks: Vec<(&str, Vec<&Scored>)> = Vec::new();
    for scored in all {
        let task = scored.prompt.task.as_str();
        match tasks.iter_mut().find(|(name, _)| *name == task) {
            Some((_, prompts)) => prompts.push(scored),
            None => tasks.push((task, vec![scored])),
        }
    }
    tasks
}

fn figures(prompts: &[&Scored]) -> Figures {
    let metric = |name, statistic: fn(&[&&Scored]) -> f64| {
        let all: Vec<&&Scored> = prompts.iter().collect();
        let interval = bootstrap_interval(prompts, statistic);
        (name, statistic(&all), interval.map(<[f64; 2]>::from))
    };
    let sum = |count: fn(&Scored) -> usize| prompts.iter().map(|prompt| count(prompt)).sum();
    Figures {
        metrics: vec![
            metric("score", score_of),
            metric("image_accuracy", |prompts| {
                let images = prompts.iter().map(|prompt| prompt.images.len());
                let correct = prompts.iter().map(|prompt| prompt.number_correct());
                share(correct.sum(), images.sum())
            }),
            metric("prompt_accuracy", |prompts| {
                let correct = prompts.iter().filter(|prompt| prompt.number_correct() > 0);
                share(correct.count(), prompts.len())
            }),
        ],
        counts: vec![("correct_images", sum(Scored::number_correct))],
        covered: sum(Scored::number_judged),
        expected: sum(|prompt| prompt.images.len()),
    }
}

fn score_of(prompts: &[&&Scored]) -> f64 {
    score(prompts.iter().flat_map(|scored| {
        let task = scored.prompt.task.as_str();
        scored.correct().map(move |correct| (task, correct))
    }))
}

fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}
