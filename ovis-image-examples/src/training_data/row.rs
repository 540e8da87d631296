//! Row of a manifest as training uses it.

use std::path::PathBuf;

use serde_json::Value;

use super::caption::CaptionLanguage;
use super::frame::Frame;
use super::mask::Mask;
use crate::manifest::Row;

/// Image with its captions, its place in a bucket, and its weight.
#[derive(Debug, Clone, PartialEq)]
pub struct DataRow {
    /// Name of the image in the manifest.
    pub name: String,
    /// File of the image.
    pub image: PathBuf,
    /// Size of the image in training, and how the image is fitted to it.
    pub frame: Frame,
    /// Captions of the requested languages, in their order.
    pub captions: Vec<(CaptionLanguage, String)>,
    /// How often the row is drawn, relative to others. Not negative.
    pub weight: f64,
    /// Weight of the image in the loss. Not negative.
    pub loss_weight: f32,
    /// True for a regularization image, which is not held out.
    pub is_prior: bool,
    /// Part of the image that counts in the loss.
    pub mask: Mask,
    /// Keys of the encodings in a cache; `None` if the row is of images.
    pub encodings: Option<Encodings>,
}

/// Keys of the encodings of a row in a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encodings {
    /// Key of the latents.
    pub latents: String,
    /// Keys of the embeddings of the captions, in their order.
    pub embeddings: Vec<String>,
}

impl DataRow {
    /// Creates the row of an image that counts as others do and has no captions yet.
    pub fn new(name: String, image: PathBuf, frame: Frame) -> Self {
        Self {
            name,
            image,
            frame,
            captions: Vec::new(),
            weight: 1.0,
            loss_weight: 1.0,
            is_prior: false,
            mask: Mask::Whole,
            encodings: None,
        }
    }

    /// Returns one of the captions, or an empty text if there are not so many.
    pub fn caption(&self, index: usize) -> &str {
        let caption = self.captions.get(index);
        caption.map_or("", |(_, text)| text.as_str())
    }
}

impl DataRow {
    /// Returns the key of the latents, or an empty text for a row that is not of a cache.
    pub fn latents_key(&self) -> &str {
        self.encodings.as_ref().map_or("", |keys| &keys.latents)
    }

    /// Returns the key of a caption's embeddings, or an empty text if there is none.
    pub fn embedding_key(&self, index: usize) -> &str {
        let keys = self.encodings.as_ref();
        let key = keys.and_then(|keys| keys.embeddings.get(index));
        key.map_or("", String::as_str)
    }
}

/// Returns the weight of a row: its field `weight`, or its `repeats`, or else 1.
///
/// # Errors
/// Returns a description of the problem if it is not a number of at least 0.
pub(super) fn weight(row: &Row) -> Result<f64, String> {
    for field in ["weight", "repeats"] {
        let Some(value) = row.other.get(field).filter(|value| !value.is_null()) else {
            continue;
        };
        let weight = Value::as_f64(value).filter(|weight| (0.0..=1e12).contains(weight));
        return weight
            .ok_or_else(|| format!("its `{field}` is {value}, not a number from 0 to 1e12"));
    }
    Ok(1.0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_weight_counts_before_repeats_and_must_be_a_number() {
        let of = |fields: Value| {
            let mut row = json!({"image": "a.png"});
            for (name, value) in fields.as_object().unwrap() {
                row[name] = value.clone();
            }
            weight(&serde_json::from_value(row).unwrap())
        };
        assert_eq!(of(json!({})), Ok(1.0));
        assert_eq!(of(json!({"repeats": 3})), Ok(3.0));
        assert_eq!(of(json!({"repeats": 3, "weight": 0.5})), Ok(0.5));
        assert!(of(json!({"weight": -1})).unwrap_err().contains("`weight`"));
        assert!(
            of(json!({"repeats": "2"}))
                .unwrap_err()
                .contains("`repeats`")
        );
    }
}
