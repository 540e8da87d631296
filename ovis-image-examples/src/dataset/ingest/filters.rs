//! Filters that look at one row at a time.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;

use super::captions;
use super::measure::Measures;
use super::reason::{Dropped, Reason};
use crate::dataset::manifest::Row;
use crate::shared::input_file;
use crate::shared::usage::UsageError;

/// Maximum size of a file of phrases, in bytes.
const MOST_PHRASE_BYTES: u64 = 16 << 20;

/// Thresholds of the filters.
#[derive(Debug, Args)]
#[command(next_help_heading = "Filters")]
pub(super) struct Filters {
    /// Minimum length of the shorter side, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 256)]
    min_side: u32,
    /// Maximum ratio of the longer side to the shorter side
    #[arg(long, value_name = "RATIO", default_value_t = 4.0)]
    max_aspect: f64,
    /// Minimum contrast: standard deviation of the color channel that varies most, from 0 to 255
    #[arg(long, value_name = "VALUE", default_value_t = 4.0)]
    min_contrast: f64,
    /// Minimum sharpness: variance of the Laplacian; 0 keeps all images
    #[arg(long, value_name = "VALUE", default_value_t = 10.0)]
    min_sharpness: f64,
    /// Keep images without a caption, for `dataset recaption`
    #[arg(long)]
    keep_uncaptioned: bool,
    /// File of more boilerplate captions to drop, one in each line
    #[arg(long, value_name = "FILE")]
    boilerplate: Option<PathBuf>,
    /// Languages of captions to keep; a caption that is certainly in another is dropped
    #[arg(
        long,
        value_name = "CODES",
        value_delimiter = ',',
        default_value = "en,zh"
    )]
    languages: Vec<String>,
    /// Maximum number of images with the same caption; if more have it, all of them are dropped
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub max_repeats: u32,
}

/// Filters, ready to use.
#[derive(Debug)]
pub(super) struct RowFilter<'a> {
    filters: &'a Filters,
    phrases: BTreeSet<String>,
}

impl<'a> RowFilter<'a> {
    /// Reads what the filters need.
    ///
    /// # Errors
    /// Returns an error if a threshold is not a number, or a file cannot be read.
    pub(super) fn new(filters: &'a Filters) -> Result<Self> {
        for (flag, value) in [
            ("--max-aspect", filters.max_aspect),
            ("--min-contrast", filters.min_contrast),
            ("--min-sharpness", filters.min_sharpness),
        ] {
            let message = || UsageError::new(format!("invalid {flag}: it must be a number"));
            ensure!(!value.is_nan(), message());
        }
        let mut phrases = BTreeSet::new();
        if let Some(path) = &filters.boilerplate {
            let bytes = input_file::read(path, MOST_PHRASE_BYTES)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let text = String::from_utf8_lossy(&bytes);
            phrases.extend(text.lines().map(captions::normalized));
        }
        Ok(Self { filters, phrases })
    }

    /// Checks an image and its captions. A caption that fails is removed if the other passes.
    ///
    /// # Errors
    /// Returns the first reason to drop the row.
    pub(super) fn check(&self, row: &mut Row, measures: &Measures) -> Result<(), Dropped> {
        self.check_image(measures)?;
        self.check_captions(row)
    }

    fn check_image(&self, measures: &Measures) -> Result<(), Dropped> {
        let filters = self.filters;
        let (width, height) = (measures.width, measures.height);
        let (short, long) = (width.min(height), width.max(height));
        if short < filters.min_side {
            let detail = format!("{width}x{height}, a side below {}", filters.min_side);
            return Err(Dropped::new(Reason::TooSmall, detail));
        }
        if f64::from(long) > filters.max_aspect * f64::from(short) {
            let detail = format!("{width}x{height}, above {}", filters.max_aspect);
            return Err(Dropped::new(Reason::ExtremeAspect, detail));
        }
        let below = |reason, value: f64, least: f64| {
            if value < least {
                return Err(Dropped::new(reason, format!("{value}, below {least}")));
            }
            Ok(())
        };
        below(Reason::NearBlank, measures.contrast, filters.min_contrast)?;
        below(Reason::Blurred, measures.sharpness, filters.min_sharpness)
    }

    /// Checks the captions, and drops the row if none of them is left.
    fn check_captions(&self, row: &mut Row) -> Result<(), Dropped> {
        let check = |caption: &Option<String>| {
            let caption = caption
                .as_deref()
                .filter(|caption| !caption.trim().is_empty());
            caption.map(|caption| self.check_caption(caption))
        };
        match [check(&row.caption_en), check(&row.caption_zh)] {
            [None, None] if self.filters.keep_uncaptioned => Ok(()),
            [None, None] => Err(Dropped::new(Reason::CaptionEmpty, "it has no caption")),
            [Some(Err(_)), Some(Ok(()))] => {
                row.caption_en = None;
                Ok(())
            }
            [Some(Ok(())), Some(Err(_))] => {
                row.caption_zh = None;
                Ok(())
            }
            [Some(Err(dropped)), _] | [None, Some(Err(dropped))] => Err(dropped),
            [Some(Ok(())), _] | [None, Some(Ok(()))] => Ok(()),
        }
    }

    fn check_caption(&self, caption: &str) -> Result<(), Dropped> {
        if captions::is_boilerplate(caption, &self.phrases) {
            return Err(Dropped::new(
                Reason::CaptionBoilerplate,
                format!("`{caption}`"),
            ));
        }
        let languages = &self.filters.languages;
        match captions::language(caption) {
            Some(found) if !languages.iter().any(|language| language == found) => {
                let detail = format!("it is `{found}`, not {}", languages.join(" or "));
                Err(Dropped::new(Reason::CaptionLanguage, detail))
            }
            _ => Ok(()),
        }
    }
}
