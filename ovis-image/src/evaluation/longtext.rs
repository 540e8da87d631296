//! LongText-Bench: words of long texts in English, characters of Chinese ones (X-Omni, arXiv
//! 2507.22058). The rules are those of `textbench/evaluate_text_reward.py` and
//! `summary_scores.py` in `X-Omni-Team/X-Omni`. The official reader is Qwen2.5-VL-7B: figures of
//! another reader are not comparable.

use std::collections::HashMap;
use std::hash::Hash;

use super::Mode;
use super::python_text::{is_space, words};

/// Language of a benchmark's prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    /// English: words count, in lower case.
    English,
    /// Chinese: characters count.
    Chinese,
}

/// Number of words or characters of one image, and how many of them were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct MatchCount {
    /// Number that was read, each at most as often as it is expected.
    pub matched: usize,
    /// Number expected.
    pub expected: usize,
}

/// Texts with which the reader says that it found nothing, in the order of the official list.
const EMPTY_ANSWERS: [&str; 2] = ["addCriterion", "No text recognized."];

/// Removes the reader's words for "nothing" from a reading.
///
/// The official loop starts from the whole reading for each text, so it removes only the last one
/// of its list. Strict mode removes all, and also the last one without its full stop, which is how
/// the reader is asked to say it.
fn without_empty_answers(reading: &str, mode: Mode) -> String {
    match mode {
        Mode::Official => reading.replace(EMPTY_ANSWERS[1], ""),
        Mode::Strict => {
            let mended = EMPTY_ANSWERS
                .iter()
                .fold(reading.to_owned(), |text, answer| text.replace(answer, ""));
            mended.replace("No text recognized", "")
        }
    }
}

/// Keeps letters and digits that are compared, and for English single spaces between words and
/// lower case.
pub fn normalized(text: &str, language: Language) -> String {
    match language {
        Language::English => {
            let kept: String = text
                .chars()
                .filter(|character| is_compared(*character) || is_space(*character))
                .collect();
            words(&kept).collect::<Vec<_>>().join(" ").to_lowercase()
        }
        Language::Chinese => text.chars().filter(|text| is_compared(*text)).collect(),
    }
}

/// Returns true for ASCII letters and digits, Chinese characters, and French and German letters
/// with marks.
pub(super) fn is_compared(character: char) -> bool {
    character.is_ascii_alphanumeric()
        || ('\u{4e00}'..='\u{9fa5}').contains(&character)
        || "àâäéèêëîïôöùûüçÀÂÄÉÈÊËÎÏÔÖÙÛÜÇ".contains(character)
}

/// Counts what was read in an image; `None` stands for a missing image. `expected` has the texts of
/// the prompt.
pub fn score(
    expected: &[String],
    reading: Option<&str>,
    language: Language,
    mode: Mode,
) -> MatchCount {
    let expected = normalized(&expected.join(" "), language);
    let reading = without_empty_answers(reading.unwrap_or_default(), mode);
    let reading = normalized(&reading, language);
    match language {
        Language::English => matches(words(&expected), words(&reading)),
        Language::Chinese => matches(expected.chars(), reading.chars()),
    }
}

/// Counts the expected items that were read, each at most as often as it was read.
pub(super) fn matches<T: Eq + Hash>(
    expected: impl Iterator<Item = T>,
    read: impl Iterator<Item = T>,
) -> MatchCount {
    let mut left: HashMap<T, usize> = HashMap::new();
    for item in read {
        *left.entry(item).or_default() += 1;
    }
    let mut count = MatchCount::default();
    for item in expected {
        count.expected += 1;
        if let Some(number) = left.get_mut(&item).filter(|number| **number > 0) {
            *number -= 1;
            count.matched += 1;
        }
    }
    count
}

/// Computes the share that was read, over all images; 0 if nothing was expected.
pub fn text_accuracy<'c>(counts: impl IntoIterator<Item = &'c MatchCount>) -> f64 {
    let (mut matched, mut expected) = (0, 0);
    for count in counts {
        matched += count.matched;
        expected += count.expected;
    }
    matched as f64 / expected.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_count_as_often_as_they_are_expected() {
        let expected = ["The cat - the".to_owned(), "DOG!".to_owned()];
        let count = score(
            &expected,
            Some("the the the dog."),
            Language::English,
            Mode::Official,
        );
        assert_eq!((count.matched, count.expected), (3, 4));
        let missing = score(&expected, None, Language::English, Mode::Official);
        assert_eq!((missing.matched, missing.expected), (0, 4));
    }

    #[test]
    fn characters_count_in_chinese() {
        let expected = ["你好，世界 Ok".to_owned()];
        let count = score(
            &expected,
            Some("好你 ok"),
            Language::Chinese,
            Mode::Official,
        );
        assert_eq!((count.matched, count.expected), (3, 6));
    }

    #[test]
    fn only_the_last_answer_is_removed_officially() {
        let reading = "addCriterion No text recognized.";
        assert_eq!(
            without_empty_answers(reading, Mode::Official),
            "addCriterion "
        );
        assert_eq!(without_empty_answers(reading, Mode::Strict), " ");
    }
}
