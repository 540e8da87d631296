//! Tests of tokenizers that do not fit the model.

use std::fs;

use ovis_image::OvisImageError;
use ovis_image::error::CheckpointError;
use ovis_image::text_encoder::PromptTokenizer;
use ovis_image_tests::error_chain::chain;
use ovis_image_tests::golden::golden_folder;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use super::set;
use crate::support::{damaged, load, request};

#[test]
fn a_tokenizer_without_the_special_tokens_is_refused() {
    let path = golden_folder().join("base/model/tokenizer/tokenizer.json");
    let text = fs::read_to_string(path).unwrap();
    for token in ["<|im_start|>", "<|im_end|>", "<|endoftext|>"] {
        let renamed = text.replace(token, "<|other|>");
        let error =
            PromptTokenizer::from_bytes(renamed.as_bytes(), "tokenizer.json".into()).unwrap_err();
        assert!(
            matches!(&error, OvisImageError::Checkpoint(CheckpointError::MissingSpecialToken { token: missing, .. }) if *missing == token),
            "{error}"
        );
    }
    for bad in ["", "{}", "[1]", "not json"] {
        let error =
            PromptTokenizer::from_bytes(bad.as_bytes(), "tokenizer.json".into()).unwrap_err();
        assert!(
            matches!(
                error,
                OvisImageError::Checkpoint(CheckpointError::Tokenizer { .. })
            ),
            "{error}"
        );
    }
}

#[test]
fn a_tokenizer_of_another_vocabulary_is_refused() {
    let folder = damaged(|folder| {
        set(
            &folder.join("text_encoder/config.json"),
            "vocab_size",
            300.into(),
        );
        let path = folder.join("text_encoder/model.safetensors");
        let bytes = fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors: Vec<(String, TensorView<'_>)> = file
            .tensors()
            .into_iter()
            .map(|(name, view)| {
                if name.ends_with("embed_tokens.weight") {
                    let width = view.shape()[1];
                    (
                        name,
                        TensorView::new(
                            view.dtype(),
                            vec![300, width],
                            &view.data()[..600 * width],
                        )
                        .unwrap(),
                    )
                } else {
                    (name, view)
                }
            })
            .collect();
        safetensors::serialize_to_file(tensors, None, &path).unwrap();
    });
    // The tokenizer is parsed while the weights load: the first prompt reports the error, and so
    // does every later one.
    let pipeline = load(folder.path().to_owned()).unwrap();
    for _ in 0..2 {
        let error = pipeline.generate(&request()).unwrap_err();
        assert!(chain(&error).contains("vocab_size = 300"), "{error}");
    }
}
