//! Prompts of the benchmark of signs, which no image for training was drawn from.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::shared::program::print;
use crate::typography::{Fonts, Preset, Split, SyntheticTypography, TypographyError};

/// Prints prompts of signs, one JSON object a line.
///
/// They are made from the preset `signs` with words and strings that no image for training has.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Number of prompts
    #[arg(long, value_name = "N", default_value = "500", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
}

/// Prints the prompts.
///
/// # Errors
/// Returns an error of the images that captions are taken from, or of the output.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut lines = String::new();
    for prompt in prompts(arguments.count as usize)? {
        lines += &serde_json::to_string(&prompt)?;
        lines.push('\n');
    }
    print(lines.as_bytes())
}

/// Prompt of the benchmark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignPrompt {
    /// Caption.
    pub prompt: String,
    /// Text that the image should show.
    pub text: String,
    /// Name of the color of the text.
    pub text_color: String,
    /// Name of the color of the ground.
    pub ground_color: String,
    /// Seed of the image.
    pub seed: u64,
}

/// Numbers of characters of a word. Shorter words are not held out from training.
const CHARACTERS: RangeInclusive<usize> = 3..=7;

/// Seed of the images that captions are taken from.
const SEED: u64 = 20_261_125;

/// Makes prompts with texts of one or two words, all different.
///
/// # Errors
/// Returns an error of the images that captions are taken from.
pub fn prompts(count: usize) -> Result<Vec<SignPrompt>, TypographyError> {
    let (preset, _) = Preset::open("signs")?;
    let source = SyntheticTypography::new(preset, Fonts::embedded())
        .with_size(128, 128)?
        .with_split(Split::HeldOut)
        .with_characters(CHARACTERS)?;
    let mut seen = HashSet::new();
    let mut prompts = Vec::with_capacity(count);
    let mut index = 0;
    while prompts.len() < count {
        let sample = source.sample(SEED, index)?;
        index += 1;
        let text = sample.text();
        let Some(field) = sample.fields.first() else {
            continue;
        };
        if seen.insert(text.clone()) {
            prompts.push(SignPrompt {
                prompt: sample.captions.english,
                text,
                text_color: field.color.to_owned(),
                ground_color: sample.ground,
                seed: prompts.len() as u64,
            });
        }
    }
    Ok(prompts)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_committed_prompts_are_those_that_are_made() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/signs.jsonl");
        let file = fs::read_to_string(path).unwrap();
        let committed = file.lines().map(|line| serde_json::from_str(line).unwrap());
        let committed: Vec<SignPrompt> = committed.collect();
        assert_eq!(committed, prompts(500).unwrap());
    }

    #[test]
    fn prompts_have_one_or_two_held_out_words() {
        for prompt in prompts(100).unwrap() {
            let words: Vec<&str> = prompt.text.split(' ').collect();
            assert!((1..=2).contains(&words.len()), "{prompt:?}");
            assert!(prompt.prompt.contains(&prompt.text), "{prompt:?}");
            for word in words {
                assert!(CHARACTERS.contains(&word.len()), "{prompt:?}");
                assert!(Split::HeldOut.has_word(word) || Split::HeldOut.has_string(word));
            }
            assert_ne!(prompt.text_color, prompt.ground_color);
        }
    }
}
