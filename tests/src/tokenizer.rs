//! Compares the real Qwen3 tokenizer with golden ids. The tokenizer is 11 MB and not committed: its
//! path is given in `OVIS_QWEN3_TOKENIZER` (README, "Tests").

use std::path::Path;

use ovis_image::text_encoder::PromptTokenizer;
use serde::Deserialize;

use crate::golden::golden_folder;

#[derive(Deserialize)]
struct Entries {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    prompt: String,
    tokens: usize,
    input_ids: Vec<i64>,
}

/// Compares every golden prompt's ids and its number of tokens before truncation.
///
/// # Errors
/// Returns the first difference, or the tokenizer's error.
///
/// # Panics
/// Panics if the golden file is damaged.
#[allow(clippy::expect_used)]
pub fn check_real_tokenizer(path: &Path) -> Result<(), String> {
    let tokenizer = PromptTokenizer::from_file(path).map_err(|error| error.to_string())?;
    let text =
        std::fs::read(golden_folder().join("qwen3_tokenizer.json")).expect("it is committed");
    let golden: Entries = serde_json::from_slice(&text).expect("it has the fields of Entries");
    assert!(golden.entries.len() >= 12, "a dozen prompts at least");
    for entry in golden.entries {
        let tokenized = tokenizer
            .tokenize(&entry.prompt)
            .map_err(|error| error.to_string())?;
        if tokenized.padded_ids() != entry.input_ids {
            return Err(format!("the ids of `{}` differ", entry.name));
        }
        let count = tokenized.ids.len() + tokenized.truncated;
        if count != entry.tokens {
            return Err(format!(
                "`{}` has {count} tokens, not {}",
                entry.name, entry.tokens
            ));
        }
    }
    Ok(())
}
