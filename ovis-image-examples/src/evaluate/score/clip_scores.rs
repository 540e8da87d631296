//! CLIP scores of images: a file of JSON lines with scores, or with the features that CLIP gave.

use std::path::Path;

use ovis_image::evaluation::clip_score::{GREATEST, clip_score};
use serde::Deserialize;

use crate::evaluate::error::EvaluateError;
use crate::evaluate::readings::{ImageLine, ImageLines};

/// Line of the file.
#[derive(Deserialize)]
struct Line {
    image: String,
    clip_score: Option<f64>,
    image_features: Option<Vec<f32>>,
    text_features: Option<Vec<f32>>,
    error: Option<String>,
}

/// Amount by which scores of f16 features may exceed the greatest score.
const ROUNDING: f64 = 0.01;

/// Scores by the key that the benchmark finds its images with.
pub(super) type ClipScores = ImageLines<f64>;

impl ClipScores {
    /// Reads a file. `key_of` finds the key of an image from its path.
    ///
    /// # Errors
    /// Returns [`EvaluateError`] with the number of the first line that is not a score, or that
    /// repeats an image.
    pub(super) fn open(
        path: &Path,
        key_of: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, EvaluateError> {
        Self::read(path, |line| {
            let line: Line = serde_json::from_slice(line).map_err(|error| {
                format!(r#"it is not a line such as {{"image": "…", "clip_score": 0.8}}: {error}"#)
            })?;
            let content = match line.error {
                Some(_) => None,
                None => Some(score(&line)?),
            };
            Ok(ImageLine {
                key: key_of(&line.image),
                image: line.image,
                content,
            })
        })
    }
}

/// Returns the score of a line, or what is wrong with it.
fn score(line: &Line) -> Result<f64, String> {
    match (line.clip_score, &line.image_features, &line.text_features) {
        (Some(score), ..) if (0.0..=GREATEST + ROUNDING).contains(&score) => Ok(score),
        (Some(score), ..) => Err(format!("the score {score} is not from 0 to {GREATEST}")),
        (None, Some(image), Some(text)) => clip_score(image, text).ok_or_else(|| {
            let lengths = [image.len(), text.len()].map(|length| length.to_string());
            format!(
                "the features have no angle: their lengths are {}, and each needs a number that \
                 is not 0",
                lengths.join(" and ")
            )
        }),
        (None, ..) => {
            let needed = "`clip_score`, `error`, or `image_features` and `text_features`";
            Err(format!("it has none of {needed}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<f64, String> {
        score(&serde_json::from_str(line).unwrap())
    }

    #[test]
    fn scores_are_given_or_computed_from_features() {
        assert_eq!(of(r#"{"image": "0.png", "clip_score": 0.83}"#), Ok(0.83));
        let features = r#"{"image": "0.png", "image_features": [3, 0], "text_features": [3, 4]}"#;
        assert_eq!(of(features), Ok(1.5));
    }

    #[test]
    fn other_lines_are_refused() {
        for (line, text) in [
            (r#"{"image": "0.png"}"#, "none of"),
            (r#"{"image": "0.png", "clip_score": 83.7}"#, "83.7"),
            (r#"{"image": "0.png", "clip_score": -0.1}"#, "-0.1"),
            (r#"{"image": "0.png", "image_features": [1]}"#, "none of"),
            (
                r#"{"image": "0.png", "image_features": [1, 2], "text_features": [1]}"#,
                "2 and 1",
            ),
            (
                r#"{"image": "0.png", "image_features": [0], "text_features": [1]}"#,
                "not 0",
            ),
        ] {
            let error = of(line).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
    }
}
