//! Split of the texts: some are never drawn for training, so that a model can be tested with them.

use std::sync::LazyLock;

use super::random::first_eight_bytes;

/// Half of all texts that may be drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Split {
    /// Texts to learn from.
    #[default]
    Train,
    /// Texts to test with: the held-out words, and one in sixteen of all other strings of three or
    /// more characters, chosen by a hash.
    HeldOut,
}

/// Length of the shortest text that is held out. Shorter ones are all needed to learn the letters.
pub(super) const LEAST_HELD_OUT: usize = 3;

/// Fraction of random strings that are held out: one in this many.
const ONE_IN: u64 = 16;

/// Returns the words that are held out, in capitals.
pub fn held_out_words() -> &'static [&'static str] {
    &WORDS
}

static WORDS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    include_str!("words/held_out.txt")
        .split_whitespace()
        .collect()
});

impl Split {
    /// Returns whether a word of a list belongs to this half. A word that contains a held-out one
    /// belongs to neither.
    pub fn has_word(self, word: &str) -> bool {
        match self {
            Self::Train => self.has_string(word),
            Self::HeldOut => WORDS.contains(&word.to_ascii_uppercase().as_str()),
        }
    }

    /// Returns whether a random string belongs to this half.
    pub fn has_string(self, text: &str) -> bool {
        let capitals = text.to_ascii_uppercase();
        let chosen = capitals.chars().count() >= LEAST_HELD_OUT
            && first_eight_bytes(&format!("held out {capitals}")).is_multiple_of(ONE_IN);
        match self {
            Self::Train => !chosen && !contains_held_out(&capitals),
            Self::HeldOut => chosen,
        }
    }
}

fn contains_held_out(capitals: &str) -> bool {
    WORDS.iter().any(|word| capitals.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_out_words_are_long_enough_and_in_capitals() {
        assert!(WORDS.len() >= 60);
        for word in WORDS.iter() {
            assert!((LEAST_HELD_OUT..=7).contains(&word.len()), "{word}");
            assert!(word.bytes().all(|byte| byte.is_ascii_uppercase()), "{word}");
            assert!(Split::HeldOut.has_word(word) && !Split::Train.has_word(word));
            assert!(!Split::Train.has_string(word));
        }
    }

    #[test]
    fn no_string_belongs_to_both_halves() {
        let mut held_out = 0;
        for number in 0..16_000 {
            let text = format!("{number:05X}");
            assert!(!(Split::Train.has_string(&text) && Split::HeldOut.has_string(&text)));
            assert_eq!(
                Split::Train.has_string(&text),
                Split::Train.has_string(&text.to_lowercase())
            );
            held_out += u32::from(Split::HeldOut.has_string(&text));
        }
        assert!((800..1200).contains(&held_out), "{held_out}");
        // Two characters are never held out.
        assert!((10..100).all(|number| Split::Train.has_string(&number.to_string())));
    }
}
