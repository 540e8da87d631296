//! Answers to questions about images: a file of JSON lines.

use std::collections::HashMap;

use ovis_image::evaluation::Mode;
use ovis_image::evaluation::dpg::is_yes;
use serde::Deserialize;
use serde_json::Value;

use crate::evaluate::readings::{ImageLine, last_parts};

#[derive(Deserialize)]
struct Line {
    image: String,
    answers: Option<Value>,
    error: Option<String>,
}

/// Answers to the questions about one image, by the number of the question.
pub(super) type Answers = HashMap<u32, bool>;

/// Reads a line such as `{"image": "0.png", "answers": [{"1": "yes", "2": "no"}]}`, with an object
/// for each image of the grid, or a single object for a single image. An answer is a text, `true`
/// or `false`, 1 or 0.
///
/// # Errors
/// Returns what is wrong with the line.
pub(super) fn parse(line: &[u8], mode: Mode) -> Result<ImageLine<Vec<Answers>>, String> {
    let line: Line = serde_json::from_slice(line).map_err(|error| {
        format!(
            r#"it is not a line such as {{"image": "…", "answers": [{{"1": "yes"}}]}}: {error}"#
        )
    })?;
    let answers = match (line.answers, &line.error) {
        (_, Some(_)) => None,
        (None, None) => return Err("it has neither `answers` nor `error`".to_owned()),
        (Some(Value::Array(images)), None) => Some(
            images
                .into_iter()
                .map(|image| of_image(image, mode))
                .collect::<Result<_, _>>()?,
        ),
        (Some(image), None) => Some(vec![of_image(image, mode)?]),
    };
    Ok(ImageLine {
        key: last_parts(&line.image, 1).map(|parts| parts.concat()),
        image: line.image,
        content: answers,
    })
}

fn of_image(answers: Value, mode: Mode) -> Result<Answers, String> {
    let Value::Object(answers) = answers else {
        return Err(format!("`{answers}` are not answers by question"));
    };
    let answer = |(question, answer): (String, Value)| {
        let number = question.parse();
        let number = number.map_err(|_| format!("`{question}` is not the number of a question"))?;
        Ok((number, is_yes_value(&answer, mode)?))
    };
    answers.into_iter().map(answer).collect()
}

fn is_yes_value(answer: &Value, mode: Mode) -> Result<bool, String> {
    match answer {
        Value::Bool(yes) => Ok(*yes),
        Value::String(text) => Ok(is_yes(text, mode)),
        Value::Number(number) if number.as_f64() == Some(1.0) => Ok(true),
        Value::Number(number) if number.as_f64() == Some(0.0) => Ok(false),
        _ => Err(format!("the answer `{answer}` is not yes or no")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(line: &str) -> Result<Vec<Answers>, String> {
        parse(line.as_bytes(), Mode::Official).map(|line| line.content.unwrap_or_default())
    }

    #[test]
    fn answers_are_texts_truth_values_or_numbers() {
        let line = r#"{"image": "0.png", "answers": {"1": "yes", "2": true, "3": 0.0, "4": "No"}}"#;
        let expected = HashMap::from([(1, true), (2, true), (3, false), (4, false)]);
        assert_eq!(answers(line), Ok(vec![expected]));
        let grid = r#"{"image": "0.png", "answers": [{"1": 1}, {"1": 0}]}"#;
        assert_eq!(answers(grid).unwrap().len(), 2);
        assert_eq!(
            answers(r#"{"image": "0.png", "error": "…"}"#),
            Ok(Vec::new())
        );
    }

    #[test]
    fn other_answers_are_refused() {
        for (line, text) in [
            (r#"{"image": "0.png"}"#, "neither"),
            (r#"{"image": "0.png", "answers": "yes"}"#, "not answers"),
            (r#"{"image": "0.png", "answers": {"a": 1}}"#, "`a`"),
            (r#"{"image": "0.png", "answers": {"1": 0.7}}"#, "`0.7`"),
            (r#"{"image": "0.png", "answers": {"1": NaN}}"#, "not a line"),
            (r#"{"image": "0.png", "answers": {"1": null}}"#, "`null`"),
        ] {
            let error = answers(line).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
    }
}
