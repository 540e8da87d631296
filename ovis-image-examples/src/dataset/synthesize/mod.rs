//! `dataset synthesize`: drawn images of text, with captions and the place of every character.

mod output;
mod row;
mod settings;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

use crate::shared::program::{print, say};
use crate::shared::seed::Seed;
use crate::shared::terminal::shown;
use crate::shared::usage::UsageError;
use crate::shared::{interrupt, threads};
use crate::typography::{Backgrounds, Fonts, Preset, Split, SyntheticTypography, TypographyError};

use output::Output;
use settings::Settings;

/// Draws images of text with captions, for training and tests
///
/// Writes images/*.png and manifest.jsonl, one line for each image: its captions in English and
/// Chinese, and the strings, boxes, font and color of its texts. Equal arguments give equal bytes
/// on every machine. A run that was interrupted is resumed by running the same command again.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Preset: plain, signs, signs-mono, posters, screens, bilingual, or a .toml file
    #[arg(long, value_name = "PRESET")]
    preset: String,
    /// Number of images
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Folder to create
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Width of the images in pixels
    #[arg(short = 'W', long, value_name = "PIXELS", default_value_t = 512)]
    width: u32,
    /// Height of the images in pixels
    #[arg(short = 'H', long, value_name = "PIXELS", default_value_t = 512)]
    height: u32,
    /// Seed, or `random`
    #[arg(short, long, default_value = "0", allow_hyphen_values = true)]
    seed: Seed,
    /// Number of the first image; machines that draw parts of one set start at different ones
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    first: u64,
    /// Folder of fonts to draw with, instead of the built-in ones
    #[arg(long, value_name = "DIR")]
    fonts: Option<PathBuf>,
    /// Draw only with this font or family. May be repeated
    #[arg(long, value_name = "NAME")]
    font: Vec<String>,
    /// Folder of photographs to draw on, in presets that have them
    #[arg(long, value_name = "DIR")]
    backgrounds: Option<PathBuf>,
    /// Number of characters of each random string or word, such as 4 or 1-4 [default: the preset's]
    #[arg(long, value_name = "RANGE")]
    characters: Option<Range>,
    /// Number of lines of fields that may have several, such as 1 or 1-2 [default: the preset's]
    #[arg(long, value_name = "RANGE")]
    lines: Option<Range>,
    /// Words and random strings to draw
    #[arg(long, value_enum, default_value_t = Half::Train)]
    split: Half,
    /// Number of CPU threads [default: all cores]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=threads::MOST_THREADS))]
    threads: Option<u16>,
}

/// Half of the texts to draw from.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Half {
    /// Texts for training
    Train,
    /// Texts held out for tests, never drawn for training
    HeldOut,
}

/// Inclusive range of numbers.
#[derive(Clone, Debug, PartialEq)]
struct Range(RangeInclusive<usize>);

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| {
            let parsed: Option<usize> = text.trim().parse().ok();
            parsed.filter(|number| (1..=1000).contains(number))
        };
        match (number(from), number(to)) {
            (Some(from), Some(to)) if from <= to => Ok(Self(from..=to)),
            _ => Err("write a number from 1 to 1000, or two such as 1-4".to_owned()),
        }
    }
}

/// Draws the requested images.
///
/// # Errors
/// Returns an error if an argument or a font is wrong, or a file cannot be read or written.
pub fn run(arguments: Arguments) -> Result<()> {
    if let Some(count) = arguments.threads {
        threads::limit(count.into())?;
    }
    let (source, settings) = prepare(&arguments).map_err(blame)?;
    let output = Output::open(&arguments.output, &settings)?;
    interrupt::exit_between_files()?;
    output.write(&source, &settings)?;
    let manifest = shown(&arguments.output.join("manifest.jsonl"));
    print(format!("{manifest}  {} images\n", arguments.count).as_bytes())
}

/// Opens the preset, the fonts and the photographs, and collects the settings.
fn prepare(arguments: &Arguments) -> Result<(SyntheticTypography, Settings)> {
    ensure!(
        arguments.first.checked_add(arguments.count).is_some(),
        UsageError::new("--first and --count together are too large")
    );
    let (preset, text) = Preset::open(&arguments.preset)?;
    let all = match &arguments.fonts {
        Some(folder) => Fonts::of_folder(folder)?,
        None => Fonts::embedded(),
    };
    for path in all.unreadable() {
        say(&format!(
            "note: {} is not a font that can be read",
            shown(path)
        ));
    }
    let split = match arguments.split {
        Half::Train => Split::Train,
        Half::HeldOut => Split::HeldOut,
    };
    let (seed, size) = (arguments.seed, [arguments.width, arguments.height]);
    if seed.is_random {
        say(&format!("seed: {}", seed.value));
    }
    let mut settings = Settings::new(&preset, &text, &all, seed.value, size);
    settings.first = arguments.first;
    settings.count = arguments.count;
    settings.font.clone_from(&arguments.font);
    settings.held_out = split == Split::HeldOut;
    let mut source = SyntheticTypography::new(preset, all)
        .with_size(arguments.width, arguments.height)?
        .with_split(split);
    if !arguments.font.is_empty() {
        source = source.with_fonts(&arguments.font)?;
    }
    if let Some(Range(range)) = &arguments.characters {
        settings.characters = Some([*range.start(), *range.end()]);
        source = source.with_characters(range.clone())?;
    }
    if let Some(Range(range)) = &arguments.lines {
        settings.lines = Some([*range.start(), *range.end()]);
        source = source.with_lines(range.clone())?;
    }
    if let Some(folder) = &arguments.backgrounds {
        let backgrounds = Backgrounds::of_folder(folder)?;
        settings.backgrounds = Some(hash_of_names(folder, backgrounds.files())?);
        source = source.with_backgrounds(backgrounds);
    }
    Ok((source, settings))
}

/// Turns errors caused by an argument into usage errors.
fn blame(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref() {
        Some(
            TypographyError::Argument(_)
            | TypographyError::UnknownFont { .. }
            | TypographyError::UnknownPreset { .. },
        ) => UsageError::new(error.to_string()).into(),
        _ => error,
    }
}

/// Returns a hash of names and sizes of photographs, so that a run is not resumed with others.
fn hash_of_names(folder: &Path, files: &[PathBuf]) -> Result<String> {
    let mut text = String::new();
    for path in files {
        let size =
            std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.strip_prefix(folder).unwrap_or(path);
        text.push_str(&format!("{}\t{}\n", name.display(), size.len()));
    }
    Ok(settings::hash(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_one_number_or_two() {
        let parsed = |text: &str| text.parse::<Range>().map(|range| range.0);
        assert_eq!(parsed("4"), Ok(4..=4));
        assert_eq!(parsed("1-4"), Ok(1..=4));
        for wrong in ["", "0", "4-1", "1-", "-3", "1001", "a"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
