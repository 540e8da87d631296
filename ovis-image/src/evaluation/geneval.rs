//! GenEval: objects, their numbers, colors and positions, from what an object detector found in an
//! image (arXiv 2310.11513). The rules are those of `evaluation/evaluate_images.py` and
//! `summary_scores.py` in `djghosh13/geneval`. The official detector is Mask2Former; the official
//! colors come from CLIP ViT-L/14.
//!
//! The rules have no fault to correct, so there is no [`Mode`](super::Mode) here. Only colors and
//! positions of the most confident objects count, as many as the prompt asks for; the official
//! script says that this is on purpose.

use serde::Deserialize;

use super::boxes::{Relation, relations};

/// Detections count above this score.
const LEAST_SCORE: f32 = 0.3;

/// Detections count above this score if objects are counted.
const LEAST_SCORE_FOR_COUNTING: f32 = 0.9;

/// Greatest number of objects of a class that are considered.
const MOST_OBJECTS: usize = 16;

/// Prompt of the benchmark, as a line of `evaluation_metadata.jsonl`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Prompt {
    /// Task: `single_object`, `two_object`, `counting`, `colors`, `position` or `color_attr`.
    #[serde(rename = "tag")]
    pub task: String,
    /// Objects that the image must show.
    pub include: Vec<Requirement>,
    /// Objects that the image must not show.
    #[serde(default)]
    pub exclude: Vec<Exclusion>,
    /// Text of the prompt.
    pub prompt: String,
}

/// Objects of a class that an image must show.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Requirement {
    /// Class of the objects, such as `bench`.
    pub class: String,
    /// Least number of objects.
    pub count: usize,
    /// Color of the objects.
    #[serde(default)]
    pub color: Option<String>,
    /// Position relative to the objects of an earlier requirement, which is given by its index.
    #[serde(default)]
    pub position: Option<(Relation, usize)>,
}

/// Objects of a class of which an image must show fewer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Exclusion {
    /// Class of the objects.
    pub class: String,
    /// Number of objects that is too many.
    pub count: usize,
}

/// Object that a detector found.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Detection {
    /// Class of the object.
    pub class: String,
    /// Confidence of the detector, from 0 to 1.
    pub score: f32,
    /// Left, top, right and bottom edge in pixels.
    #[serde(rename = "box")]
    pub bounds: [f32; 4],
    /// Color of the object; needed only if the prompt asks for the color of this class.
    #[serde(default)]
    pub color: Option<String>,
}

/// Reason why an image cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GenEvalError {
    /// An object has no color, although the prompt asks for one.
    #[error("an object of the class `{class}` has no color, which the prompt asks for")]
    NoColor {
        /// Class of the object.
        class: String,
    },
    /// A position refers to a requirement that is not an earlier one.
    #[error(
        "the position of `{class}` refers to requirement {target}, which is not an earlier one"
    )]
    NoTarget {
        /// Class of the requirement with the position.
        class: String,
        /// Index that it refers to.
        target: usize,
    },
}

/// Returns true if an image shows what the prompt asks for. Of detections with equal scores, the
/// later one is the more confident one.
///
/// # Errors
/// Returns [`GenEvalError`] if a color that is needed is absent, or if the prompt is invalid.
pub fn is_correct(prompt: &Prompt, detections: &[Detection]) -> Result<bool, GenEvalError> {
    let least_score = match prompt.task.as_str() {
        "counting" => LEAST_SCORE_FOR_COUNTING,
        _ => LEAST_SCORE,
    };
    let objects = |class: &str| most_confident(detections, class, least_score);
    let mut correct = true;
    // Objects of each requirement so far, if it is met.
    let mut groups: Vec<Option<Vec<&Detection>>> = Vec::new();
    for requirement in &prompt.include {
        let mut found = objects(&requirement.class);
        found.truncate(requirement.count);
        let met = found.len() == requirement.count
            && has_color(requirement, &found)?
            && has_position(requirement, &found, &groups)?;
        correct &= met;
        groups.push(met.then_some(found));
    }
    let too_many = |exclusion: &Exclusion| objects(&exclusion.class).len() >= exclusion.count;
    Ok(correct && !prompt.exclude.iter().any(too_many))
}

/// Returns the objects of a class above a score, the most confident one first.
fn most_confident<'d>(
    detections: &'d [Detection],
    class: &str,
    least_score: f32,
) -> Vec<&'d Detection> {
    let of_class = detections.iter().filter(|object| object.class == class);
    let mut objects: Vec<&Detection> = of_class
        .filter(|object| object.score > least_score)
        .collect();
    objects.sort_by(|first, second| first.score.total_cmp(&second.score));
    objects.reverse();
    objects.truncate(MOST_OBJECTS);
    objects
}

fn has_color(requirement: &Requirement, found: &[&Detection]) -> Result<bool, GenEvalError> {
    let Some(color) = &requirement.color else {
        return Ok(true);
    };
    if found.iter().any(|object| object.color.is_none()) {
        return Err(GenEvalError::NoColor {
            class: requirement.class.clone(),
        });
    }
    Ok(found
        .iter()
        .all(|object| object.color.as_ref() == Some(color)))
}

fn has_position(
    requirement: &Requirement,
    found: &[&Detection],
    groups: &[Option<Vec<&Detection>>],
) -> Result<bool, GenEvalError> {
    let Some((relation, target)) = requirement.position else {
        return Ok(true);
    };
    let group = groups.get(target).ok_or_else(|| GenEvalError::NoTarget {
        class: requirement.class.clone(),
        target,
    })?;
    let Some(targets) = group else {
        return Ok(false);
    };
    Ok(found.iter().all(|object| {
        let has = |target: &&Detection| relations(object.bounds, target.bounds).contains(&relation);
        targets.iter().all(has)
    }))
}

/// Computes the score of the benchmark: the mean over tasks of the share of correct images. Takes
/// the task of each image and whether the image is correct; returns 0 without images.
pub fn score<'t>(images: impl IntoIterator<Item = (&'t str, bool)>) -> f64 {
    // Name, correct images and all images of each task, in the order of their appearance.
    let mut tasks: Vec<(&str, usize, usize)> = Vec::new();
    for (task, correct) in images {
        let at = match tasks.iter().position(|(name, ..)| *name == task) {
            Some(at) => at,
            None => {
                tasks.push((task, 0, 0));
                tasks.len() - 1
            }
        };
        tasks[at].1 += usize::from(correct);
        tasks[at].2 += 1;
    }
    let shares = tasks
        .iter()
        .map(|(_, correct, all)| *correct as f64 / *all as f64);
    shares.sum::<f64>() / tasks.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(class: &str, score: f32, left: f32, color: Option<&str>) -> Detection {
        Detection {
            class: class.to_owned(),
            score,
            bounds: [left, 0.0, left + 10.0, 10.0],
            color: color.map(str::to_owned),
        }
    }

    fn prompt(line: &str) -> Prompt {
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn numbers_must_be_exact_where_more_are_excluded() {
        let prompt = prompt(
            r#"{"tag": "counting", "include": [{"class": "cup", "count": 2}],
                "exclude": [{"class": "cup", "count": 3}], "prompt": "a photo of two cups"}"#,
        );
        let cups = |scores: &[f32]| {
            let cups = scores.iter().map(|score| object("cup", *score, 0.0, None));
            is_correct(&prompt, &cups.collect::<Vec<_>>())
        };
        assert_eq!(cups(&[0.95, 0.92]), Ok(true));
        assert_eq!(cups(&[0.95, 0.92, 0.5]), Ok(true));
        assert_eq!(cups(&[0.95, 0.92, 0.91]), Ok(false));
        assert_eq!(cups(&[0.95, f32::NAN]), Ok(false));
    }

    #[test]
    fn only_the_most_confident_objects_need_the_color() {
        let prompt = prompt(
            r#"{"tag": "colors", "include": [{"class": "cup", "count": 1, "color": "red"}],
                "prompt": "a photo of a red cup"}"#,
        );
        let red = object("cup", 0.8, 0.0, Some("red"));
        let blue = object("cup", 0.7, 0.0, Some("blue"));
        assert_eq!(is_correct(&prompt, &[blue.clone(), red]), Ok(true));
        let red = object("cup", 0.6, 0.0, Some("red"));
        assert_eq!(is_correct(&prompt, &[blue, red]), Ok(false));
        let class = "cup".to_owned();
        assert_eq!(
            is_correct(&prompt, &[object("cup", 0.6, 0.0, None)]),
            Err(GenEvalError::NoColor { class })
        );
    }

    #[test]
    fn positions_are_relative_to_an_earlier_object() {
        let line = |target: usize| {
            prompt(&format!(
                r#"{{"tag": "position", "include": [{{"class": "cup", "count": 1}},
                    {{"class": "dog", "count": 1, "position": ["left of", {target}]}}],
                    "prompt": "a photo of a dog left of a cup"}}"#
            ))
        };
        let dog = object("dog", 0.5, 0.0, None);
        let cup = |left| object("cup", 0.5, left, None);
        assert_eq!(is_correct(&line(0), &[dog.clone(), cup(50.0)]), Ok(true));
        assert_eq!(is_correct(&line(0), &[dog.clone(), cup(1.0)]), Ok(false));
        assert_eq!(is_correct(&line(0), std::slice::from_ref(&dog)), Ok(false));
        let error = is_correct(&line(1), &[dog, cup(50.0)]).unwrap_err();
        assert!(error.to_string().contains("`dog` refers to requirement 1"));
    }

    #[test]
    fn the_score_is_the_mean_of_the_tasks() {
        let images = [("colors", true), ("position", false), ("colors", true)];
        assert_eq!(score(images), 0.5);
        assert_eq!(score([]), 0.0);
    }
}
