//! Keys of encodings: hashes of everything that they are made of.

use std::io;

use ovis_image::Checkpoint;
use serde::{Deserialize, Serialize};

use crate::shared::record::hashes::{of_weights, sha256};
use crate::training_data::Frame;

/// Version of the format. It is part of every key.
pub const VERSION: u32 = 1;

/// Hashes of the models that encode images and captions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelHashes {
    /// VAE: its weights and configuration.
    pub vae: String,
    /// Text encoder: its weights, configuration and tokenizer.
    pub text_encoder: String,
}

impl ModelHashes {
    /// Hashes the models of a checkpoint, in milliseconds: sizes and samples of the files of
    /// weights.
    ///
    /// # Errors
    /// Returns the system's error if a file cannot be read.
    pub fn of(checkpoint: &Checkpoint) -> io::Result<Self> {
        let [text_encoder, _, vae] = checkpoint.inspect();
        let mut texts = text_encoder.files;
        if let Some(tokenizer) = checkpoint.tokenizer_path() {
            texts.push((tokenizer.to_owned(), std::fs::metadata(tokenizer)?.len()));
        }
        let joined =
            |weights: String, config: &str| sha256(format!("{weights}\n{config}").as_bytes());
        let vae_config = serde_json::to_string(checkpoint.vae_config())?;
        let text_config = serde_json::to_string(checkpoint.text_encoder_config())?;
        Ok(Self {
            vae: joined(of_weights(vae.files)?, &vae_config),
            text_encoder: joined(of_weights(texts)?, &text_config),
        })
    }
}

/// Returns the key of an image's latents.
pub fn latents_key(image_sha256: &str, frame: &Frame, models: &ModelHashes) -> String {
    let Frame {
        bucket,
        resize,
        place,
    } = frame;
    let vae = &models.vae;
    let made_of = format!("{VERSION} {image_sha256} {bucket:?} {resize:?} {place:?} {vae}");
    format!("latents.{}", &sha256(made_of.as_bytes())[..32])
}

/// Returns the key of a caption's embeddings.
pub fn embedding_key(caption: &str, dtype: &str, models: &ModelHashes) -> String {
    let encoder = &models.text_encoder;
    let made_of = format!("{VERSION} {dtype} {encoder} {caption}");
    format!("embeddings.{}", &sha256(made_of.as_bytes())[..32])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn everything_that_an_encoding_is_made_of_changes_its_key() {
        let models = |vae: &str, text_encoder: &str| ModelHashes {
            vae: vae.to_owned(),
            text_encoder: text_encoder.to_owned(),
        };
        let (frame, other) = (Frame::whole([16, 16]), Frame::whole([16, 32]));
        let moved = Frame {
            place: [0, -1],
            ..frame
        };
        let keys = [
            latents_key("a", &frame, &models("v", "t")),
            latents_key("b", &frame, &models("v", "t")),
            latents_key("a", &other, &models("v", "t")),
            latents_key("a", &moved, &models("v", "t")),
            latents_key("a", &frame, &models("w", "t")),
            embedding_key("a", "f32", &models("v", "t")),
            embedding_key("b", "f32", &models("v", "t")),
            embedding_key("a", "bf16", &models("v", "t")),
            embedding_key("a", "f32", &models("v", "u")),
        ];
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
        assert_eq!(keys[0], latents_key("a", &frame, &models("v", "other")));
    }
}
