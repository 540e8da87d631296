//! Reasons to drop a row.

use serde::{Deserialize, Serialize};

/// Kind of a reason, as `dropped.jsonl` writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The row of a table or the member of an archive is not usable.
    InvalidRow,
    /// The name leads out of its archive, or is not UTF-8.
    UnsafeName,
    /// The path does not lead to a readable regular file.
    Unreadable,
    /// The file exceeds the size limit of images.
    FileTooLarge,
    /// The format is not supported.
    UnsupportedFormat,
    /// The name has the extension of another format.
    WrongType,
    /// The file ends before the image does.
    Truncated,
    /// The decoder rejects the file.
    Undecodable,
    /// The image has more pixels than the limit.
    TooManyPixels,
    /// The shorter side is too short.
    TooSmall,
    /// The image is too wide or too tall.
    ExtremeAspect,
    /// The image has hardly more than one color.
    NearBlank,
    /// The image has few edges.
    Blurred,
    /// The caption is not UTF-8.
    CaptionInvalid,
    /// The caption is too long.
    CaptionTooLong,
    /// The caption is missing or empty.
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

/// Reason with its details.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dropped {
    /// Kind of the reason.
    pub reason: Reason,
    /// Details for people.
    pub detail: String,
}

impl Dropped {
    /// Creates a reason.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { reason, detail }
    }
}
