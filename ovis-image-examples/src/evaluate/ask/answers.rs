//! Answers that were given before, and their form.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::manifest::{Journal, JsonLines};
use crate::shared::record::hashes::sha256;

/// Greatest number of characters of an answer that is neither yes nor no.
const MOST_CHARACTERS: usize = 200;

/// Line of the cache.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    key: String,
    answer: String,
}

/// File of answers that is never asked for again: a line for each, found by a hash of everything
/// that determines it.
#[derive(Debug)]
pub(super) struct Cache {
    known: Mutex<HashMap<String, String>>,
    journal: Journal,
}

impl Cache {
    /// Opens a cache, or creates one.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or written, or has a line that is not an answer.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let journal = Journal::open(path)?;
        let mut known = HashMap::new();
        for line in JsonLines::open(path)? {
            let line = line?;
            let bytes = line.bytes.map_err(anyhow::Error::msg);
            let of_cache = bytes.and_then(|bytes| Ok(serde_json::from_slice::<Line>(&bytes)?));
            let of_cache = of_cache.with_context(|| {
                let number = line.number;
                format!("line {number} of {} is not a cached answer", path.display())
            })?;
            known.insert(of_cache.key, of_cache.answer);
        }
        Ok(Self {
            known: Mutex::new(known),
            journal,
        })
    }

    /// Returns an answer.
    pub(super) fn get(&self, key: &str) -> Option<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).cloned()
    }

    /// Keeps an answer.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub(super) fn put(&self, key: String, answer: String) -> Result<()> {
        let line = Line { key, answer };
        self.journal.add(&line)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(line.key, line.answer);
        Ok(())
    }
}

/// Returns the key of an answer: a hash of the model, the image as it is sent, and the question.
pub(super) fn key(model: &str, image: &str, question: &str) -> String {
    let parts = [model, image, question].map(|part| sha256(part.as_bytes()));
    sha256(parts.concat().as_bytes())[..32].to_owned()
}

/// Returns `yes` or `no` if an answer begins with this word, and otherwise its beginning.
pub(super) fn normalized(answer: &str) -> String {
    let answer = answer.trim();
    let mut words = answer.split(|character: char| !character.is_alphanumeric());
    let first = words.find(|word| !word.is_empty()).unwrap_or_default();
    let word = ["yes", "no"]
        .into_iter()
        .find(|word| first.eq_ignore_ascii_case(word));
    word.map_or_else(
        || answer.chars().take(MOST_CHARACTERS).collect(),
        str::to_owned,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_is_the_answer() {
        for (answer, expected) in [
            ("Yes.", "yes"),
            (" **No**, there is none", "no"),
            ("yes", "yes"),
            ("Nothing is red", "Nothing is red"),
            ("It is unclear; no", "It is unclear; no"),
        ] {
            assert_eq!(normalized(answer), expected);
        }
        assert_eq!(normalized(&"é".repeat(900)).chars().count(), 200);
    }

    #[test]
    fn a_torn_line_is_cut_off_and_a_foreign_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.jsonl");
        let cache = Cache::open(&path).unwrap();
        cache.put("a".to_owned(), "yes".to_owned()).unwrap();
        drop(cache);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], b"{\"key\": \"b"].concat()).unwrap();
        let cache = Cache::open(&path).unwrap();
        assert_eq!(cache.get("a").as_deref(), Some("yes"));
        assert_eq!(std::fs::read(&path).unwrap(), whole);
        std::fs::write(&path, "{\"id\": 1}\n").unwrap();
        let error = Cache::open(&path).unwrap_err().to_string();
        assert!(error.contains("line 1"), "{error}");
    }
}
