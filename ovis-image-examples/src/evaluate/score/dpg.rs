//! DPG-Bench from the answers of a model that looks at the images.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use ovis_image::evaluation::dpg::{Question, broad_category, counted_answers, questions};
use ovis_image::evaluation::{Mode, bootstrap_interval};

use super::dpg_answers::{self, Answers};
use super::{PromptScore, Share, name_of};
use crate::evaluate::error::EvaluateError;
use crate::evaluate::prompts;
use crate::evaluate::readings::ImageLines;
use crate::evaluate::report::{Figures, Report};

/// Images of a prompt with their scores.
struct Scored {
    item: String,
    /// True if there are answers about the images.
    answered: bool,
    /// Mean score of the images, or `None` if the official script drops them.
    score: Option<f64>,
    /// Answers that count for categories, with the category.
    answers: Vec<(String, bool)>,
}

/// Scores the images of the benchmark, `0.png` and so on. Also returns the images that belong to no
/// prompt.
fn scored(
    readings: &Path,
    prompts: &Path,
    images: usize,
    mode: Mode,
) -> Result<(Vec<Scored>, Vec<String>)> {
    let rows = prompts::dpg_questions(prompts)?;
    let mut known: HashMap<String, HashSet<u32>> = HashMap::new();
    for (item, question) in &rows {
        known.entry(item.clone()).or_default().insert(question.id);
    }
    let mut lines = ImageLines::read(readings, |line| dpg_answers::parse(line, mode))?;
    let mut all = Vec::new();
    for (item, questions) in questions(rows, mode) {
        let line = lines.take_line(&item);
        let answered = line.and_then(|line| Some((line.line, line.content?)));
        let Some((number, answers)) = answered else {
            all.push(missing(item, &questions, images, mode));
            continue;
        };
        let known = known.get(&item);
        let is_known = |id: &u32| known.is_some_and(|known| known.contains(id));
        let answers = in_order(&questions, &answers, images, is_known)
            .map_err(|reason| lines.error(number, reason))?;
        all.push(of_answers(item, &questions, &answers, mode, prompts)?);
    }
    Ok((all, lines.ignored()))
}

/// Returns the score of images without answers: nothing they should show counts as shown.
fn missing(item: String, questions: &[Question], images: usize, mode: Mode) -> Scored {
    let counted = match mode {
        Mode::Official => 1,
        Mode::Strict => images,
    };
    let no = |question: &Question| vec![(question.category.clone(), false); counted];
    Scored {
        item,
        answered: false,
        score: Some(0.0),
        answers: questions.iter().flat_map(no).collect(),
    }
}

/// Returns the answers about each image in the order of the questions, or why the line is invalid.
fn in_order(
    questions: &[Question],
    answers: &[Answers],
    images: usize,
    is_known: impl Fn(&u32) -> bool,
) -> Result<Vec<Vec<bool>>, String> {
    if answers.len() != images {
        let found = answers.len();
        return Err(format!("it has answers about {found} of {images} images"));
    }
    let of_image = |answers: &Answers| {
        if let Some(unknown) = answers.keys().find(|id| !is_known(id)) {
            return Err(format!("question {unknown} does not exist for this image"));
        }
        let answer = |question: &Question| {
            let answer = answers.get(&question.id).copied();
            answer.ok_or_else(|| format!("question {} has no answer", question.id))
        };
        questions.iter().map(answer).collect()
    };
    answers.iter().map(of_image).collect()
}

/// Scores the images of a prompt.
///
/// Officially, categories count the answers about the last image, as they were given. In strict
/// mode, they count the answers about all images, without those whose parents do not count.
fn of_answers(
    item: String,
    questions: &[Question],
    answers: &[Vec<bool>],
    mode: Mode,
    prompts: &Path,
) -> Result<Scored, EvaluateError> {
    let counted = answers
        .iter()
        .map(|answers| counted_answers(questions, answers, mode))
        .collect::<Result<Vec<_>, _>>();
    let counted = match (counted, mode) {
        (Ok(counted), _) => counted,
        (Err(_), Mode::Official) => {
            return Ok(Scored {
                item,
                answered: true,
                score: None,
                answers: Vec::new(),
            });
        }
        (Err(error), Mode::Strict) => {
            return Err(EvaluateError::Prompts {
                path: prompts.to_owned(),
                benchmark: "DPG-Bench",
                reason: format!("of {item}, {error}"),
            });
        }
    };
    let share = |counted: &Vec<bool>| {
        counted.iter().filter(|counts| **counts).count() as f64 / counted.len().max(1) as f64
    };
    let for_categories = match mode {
        Mode::Official => &answers[answers.len().saturating_sub(1)..],
        Mode::Strict => &counted,
    };
    let with_category = |answers: &Vec<bool>| -> Vec<(String, bool)> {
        let pairs = questions.iter().zip(answers);
        pairs
            .map(|(question, answer)| (question.category.clone(), *answer))
            .collect()
    };
    Ok(Scored {
        item,
        answered: true,
        score: Some(counted.iter().map(share).sum::<f64>() / counted.len().max(1) as f64),
        answers: for_categories.iter().flat_map(with_category).collect(),
    })
}

/// Scores the images of the benchmark, prompt by prompt.
///
/// # Errors
/// Returns an error if the answers or the questions cannot be used.
pub(super) fn by_prompt(
    readings: &Path,
    prompts: &Path,
    images: usize,
    mode: Mode,
) -> Result<Vec<PromptScore>> {
    let (all, _) = scored(readings, prompts, images, mode)?;
    let of_prompt = |scored: Scored| PromptScore {
        image: PathBuf::from(format!("{}.png", scored.item)),
        expected: scored.item,
        reading: scored
            .answered
            .then(|| format!("{:.4}", scored.score.unwrap_or_default())),
        shares: vec![Share {
            metric: "score",
            part: scored.score.unwrap_or_default(),
            whole: f64::from(scored.score.is_some()),
        }],
    };
    Ok(all.into_iter().map(of_prompt).collect())
}

/// Scores the images of the benchmark.
///
/// # Errors
/// Returns an error if the answers or the questions cannot be used.
pub(super) fn report(readings: &Path, prompts: &Path, images: usize, mode: Mode) -> Result<Report> {
    let (all, ignored) = scored(readings, prompts, images, mode)?;
    let dropped = all.iter().filter(|scored| scored.score.is_none());
    let dropped: Vec<&str> = dropped.map(|scored| scored.item.as_str()).collect();
    let mut notes = Vec::new();
    if !dropped.is_empty() {
        notes.push(format!(
            "the official rules drop {} of {} prompts, whose questions depend on one that is \
             skipped or does not exist: {}",
            dropped.len(),
            all.len(),
            dropped.join(", ")
        ));
    }
    Ok(Report {
        benchmark: "dpg",
        mode: name_of(mode),
        reader: None,
        total: total(&all),
        groups: vec![
            ("categories", categories(&all, broad_category)),
            ("detailed_categories", categories(&all, |category| category)),
        ],
        ignored,
        notes,
    })
}

fn total(all: &[Scored]) -> Figures {
    let scores: Vec<f64> = all.iter().filter_map(|scored| scored.score).collect();
    let mean = |scores: &[&f64]| scores.iter().copied().sum::<f64>() / scores.len().max(1) as f64;
    let interval = bootstrap_interval(&scores, mean);
    Figures {
        metrics: vec![(
            "score",
            mean(&scores.iter().collect::<Vec<_>>()),
            interval.map(<[f64; 2]>::from),
        )],
        counts: vec![
            ("scored_prompts", scores.len()),
            ("dropped_prompts", all.len() - scores.len()),
        ],
        covered: all.iter().filter(|scored| scored.answered).count(),
        expected: all.len(),
    }
}

/// Answers of a prompt in a category.
#[derive(Default)]
struct Tally {
    yes: usize,
    answers: usize,
    answered: bool,
}

/// Computes the share of yes of each category that a function makes of the detailed one.
fn categories(all: &[Scored], category_of: fn(&str) -> &str) -> Vec<(String, Figures)> {
    let mut categories: BTreeMap<&str, Vec<Tally>> = BTreeMap::new();
    for scored in all {
        let mut of_prompt: BTreeMap<&str, Tally> = BTreeMap::new();
        for (category, yes) in &scored.answers {
            let tally = of_prompt.entry(category_of(category)).or_default();
            tally.yes += usize::from(*yes);
            tally.answers += 1;
            tally.answered = scored.answered;
        }
        for (category, tally) in of_prompt {
            categories.entry(category).or_default().push(tally);
        }
    }
    let categories = categories.into_iter();
    categories
        .map(|(category, tallies)| (category.to_owned(), of_category(&tallies)))
        .collect()
}

fn of_category(tallies: &[Tally]) -> Figures {
    let share = |tallies: &[&Tally]| {
        let yes: usize = tallies.iter().map(|tally| tally.yes).sum();
        let answers: usize = tallies.iter().map(|tally| tally.answers).sum();
        yes as f64 / answers.max(1) as f64
    };
    let interval = bootstrap_interval(tallies, share);
    Figures {
        metrics: vec![(
            "score",
            share(&tallies.iter().collect::<Vec<_>>()),
            interval.map(<[f64; 2]>::from),
        )],
        counts: vec![("questions", tallies.iter().map(|tally| tally.answers).sum())],
        covered: tallies.iter().filter(|tally| tally.answered).count(),
        expected: tallies.len(),
    }
}
