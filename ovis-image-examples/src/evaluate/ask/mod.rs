//! `evaluate ask`: answers of a vision-language model behind HTTP to the questions of a benchmark.

mod answers;
mod questions;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::num::NonZeroU8;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};
use clap::ValueEnum;
use image::{DynamicImage, RgbImage};
use serde_json::{Value, json};

use self::answers::{Cache, key, normalized};
use self::questions::Asked;
use super::grid;
use crate::shared::error_chain::one_line;
use crate::shared::program::say;
use crate::shared::progress::CountBar;
use crate::shared::vision_chat::{self, Client, Failure, ServerArguments, data_url};
use crate::shared::{input_image, output_file};

/// Asks a vision-language model the yes/no questions of a benchmark.
///
/// The server speaks OpenAI's chat format (vLLM, SGLang, llama.cpp, Ollama). Writes the lines that
/// `evaluate score` reads with --readings. Each answer is kept in the cache, so that a second run
/// asks only for the missing ones. Scores by another model than the official judge are not
/// comparable with published ones.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Benchmark
    #[arg(value_name = "BENCH")]
    benchmark: Benchmark,
    /// Folder of the images
    #[arg(value_name = "IMAGES")]
    images: PathBuf,
    /// Prompts of the benchmark as published: dpg_bench.csv or evaluation_metadata.jsonl
    #[arg(long, value_name = "PATH")]
    prompts: PathBuf,
    /// File of answers to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// File in which answers are kept [default: beside the output, with the ending .cache.jsonl]
    #[arg(long, value_name = "FILE")]
    cache: Option<PathBuf>,
    /// Number of images in a row and in a column of each file of `dpg`
    #[arg(long, value_name = "N", default_value = "2")]
    grid: NonZeroU8,
    /// Number of images per prompt of `geneval`
    #[arg(long, value_name = "N", default_value = "4")]
    images_per_prompt: NonZeroU8,
    /// Text after each question
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "Answer with yes or no only."
    )]
    instruction: String,
    /// Server and limits.
    #[command(flatten)]
    server: ServerArguments,
}

/// Benchmark with questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Benchmark {
    /// DPG-Bench: its own questions
    Dpg,
    /// GenEval: whether the image matches the prompt (the official judge is a detector)
    Geneval,
}

/// State shared by all threads.
struct Run<'a> {
    arguments: &'a Arguments,
    client: Client,
    cache: Cache,
    /// Lines of the output by image.
    lines: Mutex<HashMap<String, Value>>,
    /// Number of answers that are neither yes nor no.
    others: AtomicUsize,
    bar: CountBar,
}

/// Asks the questions and writes the answers.
///
/// # Errors
/// Returns an error if an argument is wrong, the server refuses every request, or images remain
/// without answers. What was answered is written nevertheless.
pub fn run(arguments: &Arguments) -> Result<()> {
    output_file::check("--output", &arguments.output, &["jsonl"])?;
    let samples = arguments.images_per_prompt.get().into();
    let all = questions::of(arguments.benchmark, &arguments.prompts, samples)?;
    let default = || arguments.output.with_extension("cache.jsonl");
    let run = Run {
        arguments,
        client: Client::new(arguments.server.settings()?),
        cache: Cache::open(&arguments.cache.clone().unwrap_or_else(default))?,
        lines: Mutex::default(),
        others: AtomicUsize::new(0),
        bar: CountBar::new("images", all.len() as u64),
    };
    let (failures, result) = vision_chat::for_each(
        arguments.server.concurrency,
        &arguments.server.server,
        all.iter().map(Ok),
        |asked| asked.image.clone(),
        |asked| run.file(asked),
    );
    drop(run.bar);
    let lines = run.lines.into_inner();
    let lines = lines.unwrap_or_else(PoisonError::into_inner);
    let written = all.iter().filter_map(|asked| lines.get(&asked.image));
    let written: Vec<String> = written.map(|line| format!("{line}\n")).collect();
    output_file::write_whole(&arguments.output, written.concat().as_bytes())?;
    result?;
    warn(
        run.others.into_inner(),
        all.len() - lines.len() - failures.len(),
    );
    if failures.is_empty() {
        return Ok(());
    }
    bail!(
        "{} images have no answers, run again to ask for them: {}",
        failures.len(),
        failures.examples()
    )
}

fn warn(others: usize, missing: usize) {
    if others > 0 {
        say(&format!(
            "warning: {others} answers are neither yes nor no and count as no"
        ));
    }
    if missing > 0 {
        say(&format!("warning: {missing} images do not exist"));
    }
}

impl Run<'_> {
    /// Asks about a file and keeps its line. A file that does not exist has none.
    fn file(&self, asked: &Asked) -> Result<Result<(), Failure>> {
        self.bar.advance();
        let path = self.arguments.images.join(&asked.image);
        if !path.exists() {
            return Ok(Ok(()));
        }
        let line = match input_image::read(&path) {
            Err(error) => json!({"image": asked.image, "error": one_line(&error)}),
            Ok(image) => {
                let mut answers = Vec::new();
                for image in self.parts(image.image.into_rgb8()) {
                    match self.image(image, asked)? {
                        Ok(of_image) => answers.push(of_image),
                        Err(failure) => return Ok(Err(failure)),
                    }
                }
                questions::line(self.arguments.benchmark, asked, &answers)
            }
        };
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.insert(asked.image.clone(), line);
        Ok(Ok(()))
    }

    fn parts(&self, image: RgbImage) -> Vec<RgbImage> {
        match self.arguments.benchmark {
            Benchmark::Dpg => grid::parts(&image, self.arguments.grid.get().into()),
            Benchmark::Geneval => vec![image],
        }
    }

    /// Returns the answers about an image, in the order of the questions. Nobody is asked about an
    /// image that is all black, as one that is missing in a grid.
    fn image(&self, image: RgbImage, asked: &Asked) -> Result<Result<Vec<String>, Failure>> {
        if grid::is_black(&image) {
            return Ok(Ok(vec!["no".to_owned(); asked.questions.len()]));
        }
        let side = self.arguments.server.max_side;
        let url = match data_url::of_image(DynamicImage::ImageRgb8(image), side) {
            Ok(url) => url,
            Err(problem) => {
                let problem = format!("cannot send the image: {problem}");
                return Ok(Err(Failure::Image(problem)));
            }
        };
        let mut answers = Vec::with_capacity(asked.questions.len());
        for (_, question) in &asked.questions {
            let text = format!("{question} {}", self.arguments.instruction);
            let key = key(&self.arguments.server.model, &url, &text);
            let answer = match self.cache.get(&key) {
                Some(answer) => answer,
                None => match self.client.ask(text.trim(), &url) {
                    Err(failure) => return Ok(Err(failure)),
                    Ok(answer) => {
                        let answer = normalized(&answer);
                        self.cache.put(key, answer.clone())?;
                        answer
                    }
                },
            };
            if !["yes", "no"].contains(&answer.as_str()) {
                self.others.fetch_add(1, Ordering::Relaxed);
            }
            answers.push(answer);
        }
        Ok(Ok(answers))
    }
}
