//! Image of a data set, and the text that it shows.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Image entry: a line of `manifest.jsonl`.
///
/// Only [`image`](Self::image) is required. Fields that this version does not know are kept in
/// [`other`](Self::other), so that a step never loses what another program wrote.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Name by which scores and recaptions are joined. Unique in a manifest.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// File, relative to the folder of the manifest, with `/` between folders.
    pub image: PathBuf,
    /// English caption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption_en: Option<String>,
    /// Chinese caption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption_zh: Option<String>,
    /// Text fields that the image shows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<Text>,
    /// Origin of the image: `synthetic`, or the name that the user gave to the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Width in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Height in pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Perceptual hash of 64 bits, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phash: Option<String>,
    /// Scores by the name of the program or model that computed them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scores: BTreeMap<String, f64>,
    /// License of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Fields written by other programs.
    #[serde(flatten)]
    pub other: BTreeMap<String, serde_json::Value>,
}

/// Field of text in an image: a sign's words, a button's label.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Text {
    /// Words of the field, with a line feed between lines.
    pub text: String,
    /// Bounding box of all ink of the field.
    #[serde(default, rename = "box", skip_serializing_if = "Option::is_none")]
    pub bounds: Option<Bounds>,
    /// Lines from top to bottom.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<Line>,
    /// Name of the font.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub font: Option<String>,
    /// Color of the text: a name, or `#rrggbb`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
}

/// Line of a field.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Characters of the line.
    pub text: String,
    /// Bounding box of the line's ink.
    #[serde(rename = "box")]
    pub bounds: Bounds,
    /// Characters that have ink, in reading order, with their bounding boxes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub characters: Vec<Character>,
}

/// Character of a line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Character {
    /// The character, or the characters of a ligature.
    pub text: String,
    /// Bounding box of the character's ink.
    #[serde(rename = "box")]
    pub bounds: Bounds,
}

/// Rectangle in pixels from the upper left corner: left, top, width, height. It contains every
/// pixel that has ink, even if the text is rotated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bounds(pub f32, pub f32, pub f32, pub f32);
