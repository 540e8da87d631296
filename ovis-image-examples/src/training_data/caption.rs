//! Languages of captions.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::manifest::Row;

/// Language of a caption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum CaptionLanguage {
    /// English, field caption_en
    En,
    /// Chinese, field caption_zh
    Zh,
}

impl CaptionLanguage {
    /// All languages.
    pub const ALL: [Self; 2] = [Self::En, Self::Zh];

    /// Returns a row's caption in this language. A blank caption counts as none.
    pub fn of(self, row: &Row) -> Option<&str> {
        let caption = match self {
            Self::En => &row.caption_en,
            Self::Zh => &row.caption_zh,
        };
        let caption = caption.as_deref();
        caption.filter(|caption| !caption.trim().is_empty())
    }
}

impl fmt::Display for CaptionLanguage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::En => "en",
            Self::Zh => "zh",
        })
    }
}
