//! The list of English words, by length and by half.

use std::sync::LazyLock;

use super::split::{Split, held_out_words};

/// Words of one half of the split, indexed by their number of letters.
pub(super) struct Words(Vec<Vec<&'static str>>);

static TRAIN: LazyLock<Words> = LazyLock::new(|| {
    let all = include_str!("words/english.txt").split_whitespace();
    Words::new(all.filter(|word| Split::Train.has_word(word)))
});
static HELD_OUT: LazyLock<Words> = LazyLock::new(|| Words::new(held_out_words().iter().copied()));

impl Words {
    fn new(words: impl Iterator<Item = &'static str>) -> Self {
        let mut by_length: Vec<Vec<&str>> = Vec::new();
        for word in words {
            if by_length.len() <= word.len() {
                by_length.resize(word.len() + 1, Vec::new());
            }
            by_length[word.len()].push(word);
        }
        Self(by_length)
    }

    pub(super) fn of(split: Split) -> &'static Self {
        match split {
            Split::Train => &TRAIN,
            Split::HeldOut => &HELD_OUT,
        }
    }

    pub(super) fn of_length(&self, length: usize) -> &[&'static str] {
        self.0.get(length).map_or(&[], Vec::as_slice)
    }

    /// Returns the lengths in a range for which there are words.
    pub(super) fn lengths(&self, [least, most]: [usize; 2]) -> Vec<usize> {
        let most = most.min(self.0.len().saturating_sub(1));
        let range = least..=most;
        range.filter(|length| !self.0[*length].is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_words_of_every_length_and_none_of_the_other_half() {
        for split in [Split::Train, Split::HeldOut] {
            let least = if split == Split::Train { 2 } else { 3 };
            let lengths = Words::of(split).lengths([1, 7]);
            assert_eq!(lengths, (least..=7).collect::<Vec<_>>(), "{split:?}");
        }
        let train = Words::of(Split::Train);
        for length in train.lengths([1, 99]) {
            for word in train.of_length(length) {
                assert!(word.bytes().all(|byte| byte.is_ascii_lowercase()), "{word}");
                let capitals = word.to_uppercase();
                assert!(
                    held_out_words()
                        .iter()
                        .all(|held_out| !capitals.contains(held_out))
                );
            }
        }
        assert!(train.of_length(4).contains(&"open") && train.of_length(5).contains(&"today"));
    }
}
