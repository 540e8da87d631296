use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::ValueEnum;
use ovis_image::evaluation::Mode;

use super::prompt_score::PromptScore;
use super::{cvtg, longtext, signs};
use crate::evaluate::report::Report;
use crate::shared::usage::UsageError;

/// A benchmark that is scored from readings, and its rules.
#[derive(Debug, clap::Args)]
pub struct BenchmarkArguments {
    /// Benchmark
    #[arg(value_name = "BENCH")]
    benchmark: Benchmark,
    /// Prompts of the benchmark as published: the folder with CVTG/2.json to CVTG-Style/5.json,
    /// text_prompts.jsonl, or signs.jsonl
    #[arg(long, value_name = "PATH")]
    prompts: PathBuf,
    /// Rules: the official script's with its faults, or mended ones
    #[arg(long, value_name = "MODE", default_value = "official")]
    mode: ModeName,
    /// Language of the prompts of `longtext`
    #[arg(long, value_name = "LANGUAGE")]
    language: Option<LanguageName>,
}

/// Benchmark that can be scored from readings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Benchmark {
    /// CVTG-2K: words in quotes, 2 to 5 regions
    Cvtg,
    /// LongText-Bench: words of long texts, characters of Chinese ones
    Longtext,
    /// Signs, the benchmark of the small model in this repository: whole texts, and colors
    Signs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModeName {
    Official,
    Strict,
}

/// Language of LongText-Bench.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum LanguageName {
    En,
    Zh,
}

impl BenchmarkArguments {
    /// Refuses flags of other benchmarks; `images` says whether a folder of images is given.
    ///
    /// # Errors
    /// Returns an error that names the flag.
    pub fn check(&self, images: bool) -> Result<()> {
        ensure!(
            self.language.is_none() || self.benchmark == Benchmark::Longtext,
            UsageError::new("--language is for longtext: the other benchmarks are English")
        );
        ensure!(
            !images || self.benchmark == Benchmark::Signs,
            UsageError::new("--images is for signs: the other benchmarks have no colors")
        );
        Ok(())
    }

    /// Scores the benchmark.
    ///
    /// # Errors
    /// Returns an error if the readings or the prompts cannot be used.
    pub(super) fn report(&self, readings: &Path, images: Option<&Path>) -> Result<Report> {
        match self.benchmark {
            Benchmark::Cvtg => cvtg::report(readings, &self.prompts, self.rules()),
            Benchmark::Signs => signs::report(readings, &self.prompts, images),
            Benchmark::Longtext => {
                longtext::report(readings, &self.prompts, self.language(), self.rules())
            }
        }
    }

    /// Scores the benchmark prompt by prompt, in the order of the prompts. Only signs use the folder
    /// of images.
    ///
    /// # Errors
    /// Returns an error if the readings or the prompts cannot be used.
    pub fn by_prompt(&self, readings: &Path, images: Option<&Path>) -> Result<Vec<PromptScore>> {
        match self.benchmark {
            Benchmark::Cvtg => cvtg::by_prompt(readings, &self.prompts, self.rules()),
            Benchmark::Signs => signs::by_prompt(readings, &self.prompts, images),
            Benchmark::Longtext => {
                longtext::by_prompt(readings, &self.prompts, self.language(), self.rules())
            }
        }
    }

    /// Returns the name of the benchmark on the command line.
    pub fn name(&self) -> String {
        let value = self.benchmark.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
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
