//! Questions of the benchmarks.

use std::path::Path;

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::Benchmark;
use crate::evaluate::prompts;

/// Image, or grid of images, with questions about each of them.
#[derive(Debug)]
pub(super) struct Asked {
    /// Path of the file in the folder of images.
    pub(super) image: String,
    /// Questions with their numbers.
    pub(super) questions: Vec<(u32, String)>,
}

/// Returns the files of a benchmark with their questions, by name.
///
/// # Errors
/// Returns an error if the prompts are not those of the benchmark.
pub(super) fn of(benchmark: Benchmark, prompts: &Path, samples: u32) -> Result<Vec<Asked>> {
    Ok(match benchmark {
        Benchmark::Dpg => {
            let items = prompts::dpg_texts(prompts)?.into_iter();
            let asked = items.map(|(item, questions)| Asked {
                image: format!("{item}.png"),
                questions: questions.into_iter().collect(),
            });
            asked.collect()
        }
        Benchmark::Geneval => {
            let prompts = prompts::geneval_objects(prompts)?.into_iter().enumerate();
            let asked = prompts.flat_map(|(index, prompt)| {
                let question = format!(
                    "Does this image match the text \"{}\", with no other number, color or \
                     position of these objects?",
                    prompt.prompt
                );
                (0..samples).map(move |sample| Asked {
                    image: format!("{index:05}/samples/{sample:04}.png"),
                    questions: vec![(1, question.clone())],
                })
            });
            asked.collect()
        }
    })
}

/// Returns the line of a file. `answers` has those about each of its images, in the order of the
/// questions.
pub(super) fn line(benchmark: Benchmark, asked: &Asked, answers: &[Vec<String>]) -> Value {
    match benchmark {
        Benchmark::Dpg => {
            let of_image = |answers: &Vec<String>| -> Map<String, Value> {
                let pairs = asked.questions.iter().zip(answers);
                pairs
                    .map(|((number, _), answer)| (number.to_string(), json!(answer)))
                    .collect()
            };
            let answers: Vec<_> = answers.iter().map(of_image).collect();
            json!({"image": asked.image, "answers": answers})
        }
        Benchmark::Geneval => {
            let correct = answers.iter().flatten().all(|answer| answer == "yes");
            json!({"image": asked.image, "correct": correct})
        }
    }
}
