use std::num::NonZeroU8;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::ValueEnum;
use ovis_image::evaluation::Mode;
use ovis_image::evaluation::longtext::Language;

use super::oneig_results::OneIgResults;
use super::prompt_score::PromptScore;
use super::{cvtg, dpg, geneval, longtext, oneig, signs};
use crate::evaluate::report::Report;
use crate::shared::usage::UsageError;

/// A benchmark that is scored, and its rules.
#[derive(Debug, clap::Args)]
pub struct BenchmarkArguments {
    /// Benchmark
    #[arg(value_name = "BENCH")]
    benchmark: Benchmark,
    /// Prompts of the benchmark, as published
    ///
    /// These are the folder with CVTG/2.json to CVTG-Style/5.json, text_prompts.jsonl,
    /// evaluation_metadata.jsonl, dpg_bench.csv, a clone of OneIG-Benchmark, or signs.jsonl.
    #[arg(long, value_name = "PATH")]
    prompts: PathBuf,
    /// Rules: those of the official script, or strict ones without its faults
    #[arg(long, value_name = "MODE", default_value = "official")]
    mode: ModeName,
    /// Language of the prompts of `longtext` and `oneig` [default: en]
    #[arg(long, value_name = "LANGUAGE")]
    language: Option<LanguageName>,
    /// Number of images per prompt of `geneval`, `dpg` and `oneig` [default: 4]
    #[arg(long, value_name = "N")]
    images_per_prompt: Option<NonZeroU8>,
}

/// Files that some benchmarks are scored with, besides readings and prompts.
#[derive(Debug, Clone, Copy)]
pub struct MoreFiles<'a> {
    /// Folder of the images, for the colors of signs.
    pub(super) images: Option<&'a Path>,
    /// CLIP scores of the images of CVTG-2K.
    pub(super) clip_scores: Option<&'a Path>,
    /// Official results of OneIG-Bench's other dimensions.
    pub(super) results: Option<&'a OneIgResults>,
}

impl<'a> MoreFiles<'a> {
    /// Creates the files of a run: the folder of its images and their CLIP scores.
    pub fn of_run(images: Option<&'a Path>, clip_scores: Option<&'a Path>) -> Self {
        Self {
            images,
            clip_scores,
            results: None,
        }
    }
}

/// Benchmark that can be scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Benchmark {
    /// CVTG-2K: words in quotes, 2 to 5 regions
    Cvtg,
    /// LongText-Bench: words of long texts, characters of Chinese ones
    Longtext,
    /// GenEval: objects, numbers, colors and positions, from detections
    Geneval,
    /// DPG-Bench: questions that are answered with yes or no
    Dpg,
    /// OneIG-Bench: text, and all dimensions with official results of the others
    Oneig,
    /// Signs, the benchmark of the small model in this repository: whole texts, and colors
    Signs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModeName {
    Official,
    Strict,
}

/// Language of LongText-Bench and OneIG-Bench.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum LanguageName {
    En,
    Zh,
}

impl BenchmarkArguments {
    /// Refuses flags of other benchmarks.
    ///
    /// # Errors
    /// Returns an error that names the flag.
    pub fn check(&self, more: MoreFiles<'_>) -> Result<()> {
        let is_one_of = |benchmarks: &[Benchmark]| benchmarks.contains(&self.benchmark);
        ensure!(
            self.language.is_none() || is_one_of(&[Benchmark::Longtext, Benchmark::Oneig]),
            UsageError::new("--language is for longtext and oneig: the others are English")
        );
        ensure!(
            self.images_per_prompt.is_none()
                || is_one_of(&[Benchmark::Geneval, Benchmark::Dpg, Benchmark::Oneig]),
            UsageError::new("--images-per-prompt is for geneval, dpg and oneig")
        );
        ensure!(
            more.results.is_none() || self.benchmark == Benchmark::Oneig,
            UsageError::new("--results is for oneig: the others have one dimension")
        );
        ensure!(
            more.images.is_none() || self.benchmark == Benchmark::Signs,
            UsageError::new("--images is for signs: the other benchmarks have no colors")
        );
        ensure!(
            more.clip_scores.is_none() || self.benchmark == Benchmark::Cvtg,
            UsageError::new(
                "--clip-scores (--clip-scores-a and -b) is for cvtg: the others do not use CLIP"
            )
        );
        Ok(())
    }

    /// Scores the benchmark.
    ///
    /// # Errors
    /// Returns an error if the readings or the prompts cannot be used.
    pub(super) fn report(&self, readings: &Path, more: MoreFiles<'_>) -> Result<Report> {
        match self.benchmark {
            Benchmark::Geneval => {
                geneval::report(readings, &self.prompts, self.images(), self.rules())
            }
            Benchmark::Dpg => dpg::report(readings, &self.prompts, self.images(), self.rules()),
            Benchmark::Oneig => oneig::report(self.oneig(readings), more.results),
            Benchmark::Cvtg => {
                cvtg::report(readings, &self.prompts, self.rules(), more.clip_scores)
            }
            Benchmark::Signs => signs::report(readings, &self.prompts, more.images),
            Benchmark::Longtext => {
                longtext::report(readings, &self.prompts, self.language(), self.rules())
            }
        }
    }

    /// Scores the benchmark prompt by prompt, in the order of the prompts.
    ///
    /// # Errors
    /// Returns an error if the readings, the prompts or the other files cannot be used.
    pub fn by_prompt(&self, readings: &Path, more: MoreFiles<'_>) -> Result<Vec<PromptScore>> {
        match self.benchmark {
            Benchmark::Geneval => geneval::by_prompt(readings, &self.prompts, self.images()),
            Benchmark::Dpg => dpg::by_prompt(readings, &self.prompts, self.images(), self.rules()),
            Benchmark::Oneig => oneig::by_prompt(self.oneig(readings)),
            Benchmark::Cvtg => {
                cvtg::by_prompt(readings, &self.prompts, self.rules(), more.clip_scores)
            }
            Benchmark::Signs => signs::by_prompt(readings, &self.prompts, more.images),
            Benchmark::Longtext => {
                longtext::by_prompt(readings, &self.prompts, self.language(), self.rules())
            }
        }
    }

    /// Returns the official reader of texts if it is a large model, whose readings differ much
    /// from those of other readers.
    pub(super) fn large_reader(&self) -> Option<&'static str> {
        matches!(self.benchmark, Benchmark::Longtext | Benchmark::Oneig).then_some("Qwen2.5-VL-7B")
    }

    /// Returns the name of the benchmark on the command line.
    pub fn name(&self) -> String {
        let value = self.benchmark.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn oneig<'a>(&'a self, readings: &'a Path) -> oneig::Source<'a> {
        oneig::Source {
            readings,
            prompts: &self.prompts,
            images: self.images(),
            language: match self.language() {
                LanguageName::En => Language::English,
                LanguageName::Zh => Language::Chinese,
            },
            mode: self.rules(),
        }
    }

    fn images(&self) -> usize {
        self.images_per_prompt
            .map_or(4, |images| images.get().into())
    }

    fn language(&self) -> LanguageName {
        self.language.unwrap_or(LanguageName::En)
    }

    fn rules(&self) -> Mode {
        match self.mode {
            ModeName::Official => Mode::Official,
            ModeName::Strict => Mode::Strict,
        }
    }
}
