use std::collections::{HashMap, HashSet};

/// Returns the candidate that is most similar to a word by [`Second::ratio`] with the candidate
/// first: `difflib.get_close_matches(word, candidates, n=1, cutoff=0)` of Python. Among equals, the
/// last by code points wins. `None` without candidates.
pub(super) fn closest_match<'c>(
    word: &str,
    candidates: impl IntoIterator<Item = &'c str>,
) -> Option<&'c str> {
    let second = Second::new(word);
    let rated = candidates.into_iter().map(|candidate| {
        let characters: Vec<char> = candidate.chars().collect();
        (second.ratio(&characters), candidate)
    });
    let best = rated.max_by(|(ratio, text), (other_ratio, other)| {
        ratio.total_cmp(other_ratio).then_with(|| text.cmp(other))
    });
    best.map(|(_, candidate)| candidate)
}

/// Length from which frequent characters start no block.
const LONG: usize = 200;

/// Second text of a comparison, with the places of each character.
struct Second {
    characters: Vec<char>,
    places: HashMap<char, Vec<usize>>,
}

/// Ranges of both texts in which blocks are searched.
#[derive(Clone, Copy)]
struct Window {
    first: (usize, usize),
    second: (usize, usize),
}

/// Equal part of both texts.
struct Block {
    first: usize,
    second: usize,
    length: usize,
}

impl Second {
    fn new(text: &str) -> Self {
        let characters: Vec<char> = text.chars().collect();
        let mut places: HashMap<char, Vec<usize>> = HashMap::new();
        for (place, character) in characters.iter().enumerate() {
            places.entry(*character).or_default().push(place);
        }
        if characters.len() >= LONG {
            let most = characters.len() / 100 + 1;
            places.retain(|_, places| places.len() <= most);
        }
        Self { characters, places }
    }

    fn ratio(&self, first: &[char]) -> f64 {
        let total = first.len() + self.characters.len();
        if total == 0 {
            return 1.0;
        }
        2.0 * self.matching(first) as f64 / total as f64
    }

    /// Counts the characters of `first` in matching blocks.
    fn matching(&self, first: &[char]) -> usize {
        let mut matching = 0;
        let mut windows = vec![Window {
            first: (0, first.len()),
            second: (0, self.characters.len()),
        }];
        while let Some(window) = windows.pop() {
            let block = self.longest_block(first, window);
            if block.length == 0 {
                continue;
            }
            matching += block.length;
            windows.push(Window {
                first: (window.first.0, block.first),
                second: (window.second.0, block.second),
            });
            windows.push(Window {
                first: (block.first + block.length, window.first.1),
                second: (block.second + block.length, window.second.1),
            });
        }
        matching
    }

    /// Finds the longest block in a window; of equals, the first in `first`, then in the second.
    fn longest_block(&self, first: &[char], window: Window) -> Block {
        let (mut best, mut ending) = (
            Block {
                first: window.first.0,
                second: window.second.0,
                length: 0,
            },
            HashMap::<usize, usize>::new(),
        );
        let searched = &first[window.first.0..window.first.1];
        for (place, character) in (window.first.0..).zip(searched) {
            let mut ending_here = HashMap::new();
            let others = self.places.get(character).map_or(&[][..], Vec::as_slice);
            for &other in others {
                if other < window.second.0 || other >= window.second.1 {
                    continue;
                }
                let before = other.checked_sub(1).and_then(|before| ending.get(&before));
                let length = before.copied().unwrap_or(0) + 1;
                ending_here.insert(other, length);
                if length > best.length {
                    best = Block {
                        first: place + 1 - length,
                        second: other + 1 - length,
                        length,
                    };
                }
            }
            ending = ending_here;
        }
        self.extended(first, window, best)
    }

    /// Adds equal characters on both sides, which frequent ones still are.
    fn extended(&self, first: &[char], window: Window, mut block: Block) -> Block {
        while block.first > window.first.0
            && block.second > window.second.0
            && first[block.first - 1] == self.characters[block.second - 1]
        {
            block.first -= 1;
            block.second -= 1;
            block.length += 1;
        }
        while block.first + block.length < window.first.1
            && block.second + block.length < window.second.1
            && first[block.first + block.length] == self.characters[block.second + block.length]
        {
            block.length += 1;
        }
        block
    }
}

/// Returns the candidate with the least edit distance in relation to the longer text's length; of
/// equals, the first.
pub(super) fn nearest_unused(
    word: &str,
    candidates: &[String],
    used: &HashSet<usize>,
) -> Option<(usize, f64)> {
    let unused = (0..candidates.len()).filter(|index| !used.contains(index));
    let rated = unused.map(|index| (index, similarity(word, &candidates[index])));
    rated.reduce(|best, next| if next.1 > best.1 { next } else { best })
}

/// Computes 1 minus the edit distance divided by the longer length.
fn similarity(first: &str, second: &str) -> f64 {
    let longest = first.chars().count().max(second.chars().count());
    if longest == 0 {
        return 1.0;
    }
    1.0 - super::edit_distance(first, second) as f64 / longest as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matching_ratio(first: &str, second: &str) -> f64 {
        let first: Vec<char> = first.chars().collect();
        Second::new(second).ratio(&first)
    }

    #[test]
    fn ratios_are_those_of_python() {
        for (first, second, ratio) in [
            ("", "", 1.0),
            ("abc", "", 0.0),
            ("abcd", "bcde", 0.75),
            ("tide", "diet", 0.25),
            ("diet", "tide", 0.5),
        ] {
            assert_eq!(matching_ratio(first, second), ratio, "{first} {second}");
        }
    }

    #[test]
    fn frequent_characters_of_long_texts_start_no_block() {
        let long = "ab".repeat(100);
        // At the very start, an equal character still makes one.
        assert_eq!(matching_ratio("a", &long), 2.0 / 201.0);
        assert_eq!(matching_ratio("b", &long), 0.0);
        let marked = format!("{}x{}", "ab".repeat(100), "ab".repeat(100));
        // The mark starts a block, which then grows on both sides.
        assert_eq!(matching_ratio("abxab", &marked), 10.0 / 406.0);
    }

    #[test]
    fn the_last_of_equal_candidates_wins() {
        assert_eq!(closest_match("ab", ["ax", "xb", "aa"]), Some("xb"));
        assert_eq!(closest_match("ab", ["", "zz"]), Some("zz"));
        assert_eq!(closest_match("ab", []), None);
    }
}
