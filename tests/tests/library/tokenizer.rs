//! The real Qwen3 tokenizer, where it was fetched: `target/qwen3/tokenizer.json` or the path in
//! `OVIS_QWEN3_TOKENIZER` (see the README).

use std::path::PathBuf;

use ovis_image::text_encoder::PromptTokenizer;
use ovis_image_tests::golden::golden_folder;
use serde::Deserialize;

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

fn real_tokenizer() -> Option<PathBuf> {
    let path = std::env::var_os("OVIS_QWEN3_TOKENIZER").map(PathBuf::from)?;
    assert!(
        path.is_file(),
        "OVIS_QWEN3_TOKENIZER is {}, which is not a file",
        path.display()
    );
    Some(path)
}

#[test]
#[allow(clippy::print_stderr, reason = "a skipped test says so")]
fn the_real_tokenizer_gives_the_reference_ids() {
    let Some(path) = real_tokenizer() else {
        eprintln!(
            "SKIPPED: set OVIS_QWEN3_TOKENIZER to Qwen3's tokenizer.json (README, \"Tests\")"
        );
        return;
    };
    let tokenizer = PromptTokenizer::from_file(path).unwrap();
    let text = std::fs::read(golden_folder().join("qwen3_tokenizer.json")).unwrap();
    let golden: Entries = serde_json::from_slice(&text).unwrap();
    assert!(golden.entries.len() >= 12);
    for entry in golden.entries {
        let tokenized = tokenizer.tokenize(&entry.prompt).unwrap();
        assert_eq!(tokenized.padded_ids(), entry.input_ids, "{}", entry.name);
        assert_eq!(
            tokenized.ids.len() + tokenized.truncated,
            entry.tokens,
            "{}",
            entry.name
        );
    }
}
