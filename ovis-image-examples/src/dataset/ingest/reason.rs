//! Why a row is dropped.

use serde::{Deserialize, Serialize};

/// Kind of a reason, as `dropped.jsonl` writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The row of a table, or a member of an archive, is not usable.
    InvalidRow,
    /// A name that leads out of its archive, or that is not UTF-8.
    UnsafeName,
    /// There is no regular file to read.
    Unreadable,
    /// The file is larger than any image that is read.
    FileTooLarge,
    /// A format that is not decoded.
    UnsupportedFormat,
    /// The name promises another format.
    WrongType,
    /// The file ends before the image does.
    Truncated,
    /// The decoder refuses the file.
    Undecodable,
    /// More pixels than are decoded.
    TooManyPixels,
    /// The shorter side is too short.
    TooSmall,
    /// Too wide or too tall.
    ExtremeAspect,
    /// Hardly more than one color.
    NearBlank,
    /// Few edges.
    Blurred,
    /// The caption is not UTF-8.
    CaptionInvalid,
    /// The caption is too long.
    CaptionTooLong,
    /// There is no caption.
    CaptionEmpty,
    /// The caption says nothing about the image.
    CaptionBoilerplate,
    /// The caption is in another language.
    CaptionLanguage,
    /// Many images have this caption.
    CaptionRepeated,
    /// A score is below or above its threshold.
    Score,
    /// A score with a threshold is missing.
    ScoreMissing,
    /// Another row has the same id.
    DuplicateId,
    /// Another row has nearly the same image, caption and texts.
    Duplicate,
}

impl Reason {
    /// Returns the name in `dropped.jsonl`.
    pub fn name(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(name)) => name,
            _ => format!("{self:?}"),
        }
    }
}

/// A reason and what was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dropped {
    /// Kind of the reason.
    pub reason: Reason,
    /// What was found, for people.
    pub detail: String,
}

impl Dropped {
    /// Creates a reason.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { reason, detail }
    }
}
