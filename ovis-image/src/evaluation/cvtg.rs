//! CVTG-2K: words in quotes of a prompt, in 2 to 5 regions of an image (arXiv 2503.23461). The
//! rules are those of `unified_metrics_eval.py` in `zlab-princeton/i1`.

use std::collections::HashSet;

use super::close_match::{closest_match, nearest_unused};
use super::python_text::words;
use super::{Mode, edit_distance};

/// Scores of the words that one image should show.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct WordScores {
    /// Number of words that were read.
    pub correct: usize,
    /// Similarity of each word to the closest one that was read, 0 to 1.
    pub similarities: Vec<f64>,
}

impl WordScores {
    /// Returns the number of words.
    pub fn words(&self) -> usize {
        self.similarities.len()
    }
}

/// Returns the words in single quotes of a prompt, in lower case.
///
/// The official rule ends a quotation at the next quote character, so `'DON'T'` gives `don`. In
/// strict mode, a quote character between two letters or digits belongs to the text.
pub fn quoted_words(prompt: &str, mode: Mode) -> Vec<String> {
    let quotations = match mode {
        Mode::Official => official_quotations(prompt),
        Mode::Strict => strict_quotations(prompt),
    };
    let lower = quotations.iter().map(|text| text.to_lowercase());
    lower
        .flat_map(|text| words(&text).map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// Finds the texts that `'(.*?)'` finds: on one line each.
fn official_quotations(prompt: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = prompt;
    while let Some(start) = rest.find('\'') {
        let inside = &rest[start + 1..];
        match inside.find(['\'', '\n']) {
            Some(end) if inside[end..].starts_with('\'') => {
                found.push(&inside[..end]);
                rest = &inside[end + 1..];
            }
            Some(_) => rest = inside,
            None => break,
        }
    }
    found
}

fn strict_quotations(prompt: &str) -> Vec<&str> {
    let word_before = |at: usize| {
        let before = prompt[..at].chars().next_back();
        before.is_some_and(char::is_alphanumeric)
    };
    let word_after = |at: usize| {
        let after = prompt[at + 1..].chars().next();
        after.is_some_and(char::is_alphanumeric)
    };
    let (mut found, mut open) = (Vec::new(), None);
    for (at, _) in prompt.match_indices('\'') {
        match open {
            None if !word_before(at) => open = Some(at + 1),
            Some(start) if !word_after(at) => {
                found.push(&prompt[start..at]);
                open = None;
            }
            None | Some(_) => {}
        }
    }
    found
}

/// Scores what was read in an image. `lines` are the lines that a reader returned, unsplit; `None`
/// stands for a missing image, whose words all score 0 in both modes. (The official script skips
/// missing images.)
///
/// In strict mode, a word that was read counts for one expected word only; the closest word is the
/// one with the least edit distance instead of difflib's; and distances are divided by the longer
/// length, without 1e-5 added to it.
pub fn score(expected: &[String], lines: Option<&[String]>, mode: Mode) -> WordScores {
    let Some(lines) = lines else {
        return WordScores {
            correct: 0,
            similarities: vec![0.0; expected.len()],
        };
    };
    let lower = lines.iter().map(|line| line.to_lowercase());
    let read: Vec<String> = lower
        .flat_map(|line| words(&line).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    match mode {
        Mode::Official => official_scores(expected, read),
        Mode::Strict => strict_scores(expected, &read),
    }
}

fn official_scores(expected: &[String], mut read: Vec<String>) -> WordScores {
    if read.is_empty() {
        read.push(String::new());
    }
    let similarity = |word: &String| {
        let closest = closest_match(word, read.iter().map(String::as_str)).unwrap_or_default();
        let longest = word.chars().count().max(closest.chars().count());
        1.0 - edit_distance(word, closest) as f64 / (longest as f64 + 1e-5)
    };
    WordScores {
        correct: expected.iter().filter(|word| read.contains(word)).count(),
        similarities: expected.iter().map(similarity).collect(),
    }
}

fn strict_scores(expected: &[String], read: &[String]) -> WordScores {
    let mut used = HashSet::new();
    let mut similarities = vec![None; expected.len()];
    // Words that were read exactly are taken first, so that no other word uses them up.
    for (word, similarity) in expected.iter().zip(&mut similarities) {
        let exact = (0..read.len()).find(|index| read[*index] == *word && !used.contains(index));
        if let Some(index) = exact {
            used.insert(index);
            *similarity = Some(1.0);
        }
    }
    let correct = used.len();
    for (word, similarity) in expected.iter().zip(&mut similarities) {
        if similarity.is_none() {
            *similarity = nearest_unused(word, read, &used).map(|(index, value)| {
                used.insert(index);
                value
            });
        }
    }
    let similarities = similarities.into_iter();
    WordScores {
        correct,
        similarities: similarities.map(Option::unwrap_or_default).collect(),
    }
}

/// Computes the share of words that were read, over all words of all images; 0 without words.
pub fn word_accuracy<'s>(scores: impl IntoIterator<Item = &'s WordScores>) -> f64 {
    let (mut correct, mut words) = (0, 0);
    for score in scores {
        correct += score.correct;
        words += score.words();
    }
    correct as f64 / words.max(1) as f64
}

/// Computes the mean similarity of all words of all images (called NED by the benchmark, although 1
/// is best); 0 without words.
pub fn normalized_similarity<'s>(scores: impl IntoIterator<Item = &'s WordScores>) -> f64 {
    let (mut sum, mut words) = (0.0, 0);
    for score in scores {
        sum += score.similarities.iter().sum::<f64>();
        words += score.words();
    }
    sum / words.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn quotations_of_both_modes() {
        let prompt = "A 'Big  Sale' on Bob's desk says 'DON'T'";
        assert_eq!(
            quoted_words(prompt, Mode::Official),
            ["big", "sale", "s", "desk", "says", "t"]
        );
        assert_eq!(quoted_words(prompt, Mode::Strict), ["big", "sale", "don't"]);
        assert_eq!(quoted_words("a 'b\nc' d'", Mode::Official), ["d"]);
    }

    #[test]
    fn strict_scores_use_each_word_once() {
        let expected = lines(&["go", "go", "stop"]);
        let read = lines(&["GO shop"]);
        let official = score(&expected, Some(&read), Mode::Official);
        assert_eq!(official.correct, 2);
        let strict = score(&expected, Some(&read), Mode::Strict);
        assert_eq!(strict.correct, 1);
        // "shop" went to the second "go", at a quarter.
        assert_eq!(strict.similarities, [1.0, 0.25, 0.0]);
    }

    #[test]
    fn an_empty_reading_and_a_missing_image_score_nothing() {
        let expected = lines(&["word"]);
        let empty = score(&expected, Some(&[]), Mode::Official);
        assert!(empty.similarities[0] < 3e-6);
        assert_eq!(
            score(&expected, Some(&[]), Mode::Strict).similarities,
            [0.0]
        );
        let missing = score(&expected, None, Mode::Official);
        assert_eq!((missing.correct, missing.words()), (0, 1));
        assert_eq!(word_accuracy([&missing, &empty]), 0.0);
        assert_eq!(normalized_similarity([]), 0.0);
    }
}
