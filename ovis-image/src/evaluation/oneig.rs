//! OneIG-Bench (arXiv 2506.07977): its dimension of text, from what was read in an image, and the
//! overall score of the five dimensions. The rules are those of `scripts/text/text_score.py` and
//! `text_utils.py` in `OneIG-Bench/OneIG-Benchmark`. The official reader is Qwen2.5-VL-7B: figures
//! of another reader are not comparable.

use std::borrow::Cow;

use super::longtext::{Language, is_compared, matches};
use super::python_text::{is_space, string_list, words};
use super::{Mode, edit_distance};

/// Scores of the text in one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TextScore {
    /// Edit distance of the reading to the expected text, in characters.
    pub edit_distance: usize,
    /// Number of words, or of characters of Chinese texts, that were read, each at most as often as
    /// it is expected.
    pub matched: usize,
    /// Number of words or characters expected.
    pub expected: usize,
}

/// Texts with which the reader says that it found nothing, in the order of the official list. The
/// last one is how the reader is asked to say it, and not in the list.
const EMPTY_ANSWERS: [&str; 3] = ["addCriterion", "No text recognized.", "No text recognized"];

/// Scores the text in an image; `None` stands for a missing image, of which nothing was read. (The
/// official script skips missing images and black quarters.) `cell` is the column `text_content`: a
/// list of texts in the notation of Python.
///
/// The official rules use the cell as it is. Its brackets, quotes and commas do not count, but in a
/// line break that is written as `\n`, the letter `n` becomes a part of the next word. A text with
/// a Chinese character follows the rules of Chinese, whatever the language of the benchmark. Strict
/// mode reads the list, follows the rules of `language`, and also removes the reader's answer for
/// "nothing" without a full stop.
pub fn score(cell: &str, reading: Option<&str>, language: Language, mode: Mode) -> TextScore {
    let cell = match mode {
        Mode::Official => Cow::Borrowed(cell),
        Mode::Strict => {
            string_list(cell).map_or(Cow::Borrowed(cell), |texts| Cow::Owned(texts.join("\n")))
        }
    };
    let expected = Normalized::new(&cell, language, mode);
    let reading = without_empty_answers(reading.unwrap_or_default(), mode);
    let reading = Normalized::new(&reading, language, mode);
    let (expected_text, read_text) = (expected.text.as_str(), reading.text.as_str());
    let count = match expected.rules {
        Language::English => matches(words(expected_text), words(read_text)),
        Language::Chinese => matches(expected_text.chars(), read_text.chars()),
    };
    TextScore {
        edit_distance: edit_distance(read_text, expected_text),
        matched: count.matched,
        expected: count.expected,
    }
}

fn without_empty_answers(reading: &str, mode: Mode) -> String {
    let answers = match mode {
        Mode::Official => &EMPTY_ANSWERS[..2],
        Mode::Strict => &EMPTY_ANSWERS[..],
    };
    let start = reading.to_owned();
    answers
        .iter()
        .fold(start, |text, answer| text.replace(answer, ""))
}

/// Text as it is compared, and the language whose rules it follows.
struct Normalized {
    text: String,
    rules: Language,
}

impl Normalized {
    fn new(text: &str, language: Language, mode: Mode) -> Self {
        let has_chinese = || text.chars().any(|c| ('\u{4e00}'..='\u{9fa5}').contains(&c));
        let rules = match mode {
            Mode::Strict => language,
            Mode::Official if has_chinese() => Language::Chinese,
            Mode::Official => Language::English,
        };
        let kept = |spaces: bool| -> String {
            let keeps = |c: &char| is_compared(*c) || (spaces && is_space(*c));
            text.chars().filter(keeps).collect()
        };
        let text = match rules {
            Language::English => words(&kept(true)).collect::<Vec<_>>().join(" "),
            Language::Chinese => kept(false),
        };
        Self { text, rules }
    }
}

/// Metrics of the dimension of text, over images.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct TextMetrics {
    /// Mean edit distance (ED), in characters.
    pub edit_distance: f64,
    /// Share of images whose text is complete and nothing else (CR).
    pub completion_rate: f64,
    /// Share of words or characters that were read, over all images (WAC).
    pub word_accuracy: f64,
    /// Score of the dimension, from 0 to 1.
    pub score: f64,
}

impl TextMetrics {
    /// Computes the metrics; without images, all are 0. The score is
    /// `1 - min(M, ED) (1 - CR) (1 - WAC) / M`, with M = 100 in English and 50 in Chinese.
    pub fn new<'s>(scores: impl IntoIterator<Item = &'s TextScore>, language: Language) -> Self {
        let (mut images, mut distance, mut complete) = (0_usize, 0_usize, 0_usize);
        let (mut matched, mut expected) = (0_usize, 0_usize);
        for score in scores {
            images += 1;
            distance += score.edit_distance;
            complete += usize::from(score.edit_distance == 0);
            matched += score.matched;
            expected += score.expected;
        }
        let most = match language {
            Language::English => 100.0,
            Language::Chinese => 50.0,
        };
        let of_images = |sum: usize| sum as f64 / images.max(1) as f64;
        let (distance, complete) = (of_images(distance), of_images(complete));
        let accuracy = matched as f64 / expected.max(1) as f64;
        let score = 1.0 - f64::min(most, distance) * (1.0 - complete) * (1.0 - accuracy) / most;
        Self {
            edit_distance: distance,
            completion_rate: complete,
            word_accuracy: accuracy,
            score: if images == 0 { 0.0 } else { score },
        }
    }
}

/// Names of the dimensions of the benchmark, as its result files have them.
pub const DIMENSIONS: [&str; 5] = ["alignment", "text", "reasoning", "style", "diversity"];

/// Computes the overall score: the mean of the five dimensions.
pub fn overall(dimensions: [f64; 5]) -> f64 {
    dimensions.iter().sum::<f64>() / dimensions.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(cell: &str, reading: &str, language: Language, mode: Mode) -> TextScore {
        score(cell, Some(reading), language, mode)
    }

    #[test]
    fn brackets_and_quotes_of_a_cell_do_not_count() {
        let cell = r#"['Big Sale', "it's"]"#;
        let official = scored(cell, "Big Sale\nits", Language::English, Mode::Official);
        assert_eq!(official.edit_distance, 0);
        assert_eq!((official.matched, official.expected), (3, 3));
        let lower = scored(cell, "big sale its", Language::English, Mode::Official);
        assert_eq!((lower.edit_distance, lower.matched), (2, 1));
    }

    #[test]
    fn a_written_line_break_is_a_letter_officially() {
        let cell = r"['One\nTwo']";
        let score = |mode| scored(cell, "One Two", Language::English, mode);
        let official = score(Mode::Official);
        assert_eq!((official.edit_distance, official.matched), (1, 0));
        let strict = score(Mode::Strict);
        assert_eq!((strict.edit_distance, strict.matched), (0, 2));
    }

    #[test]
    fn official_rules_depend_on_the_content() {
        let cell = "['OPEN now']";
        let score = |mode| scored(cell, "OPEN now 你", Language::English, mode);
        assert_eq!(score(Mode::Official).matched, 0);
        assert_eq!(score(Mode::Strict).matched, 2);
        let chinese = scored("['你好', 'Ok']", "好 O", Language::Chinese, Mode::Official);
        assert_eq!((chinese.matched, chinese.expected), (2, 4));
        assert_eq!(chinese.edit_distance, 2);
    }

    #[test]
    fn answers_for_nothing_are_removed() {
        let score = |reading, mode| scored("['ab']", reading, Language::English, mode);
        assert_eq!(
            score("No text recognized.", Mode::Official).edit_distance,
            2
        );
        assert_eq!(
            score("No text recognized", Mode::Official).edit_distance,
            18
        );
        assert_eq!(score("No text recognized", Mode::Strict).edit_distance, 2);
    }

    #[test]
    fn a_missing_image_reads_as_nothing() {
        let missing = score("['ab cd']", None, Language::English, Mode::Official);
        assert_eq!(
            (missing.edit_distance, missing.matched, missing.expected),
            (5, 0, 2)
        );
    }

    #[test]
    fn distances_count_up_to_a_limit() {
        let score = |edit_distance, matched| TextScore {
            edit_distance,
            matched,
            expected: 4,
        };
        let half = TextMetrics::new(&[score(0, 4), score(50, 0)], Language::English);
        assert_eq!(half.score, 1.0 - 25.0 * 0.5 * 0.5 / 100.0);
        let far = TextMetrics::new(&[score(500, 2)], Language::Chinese);
        assert_eq!(far.score, 0.5);
        assert_eq!(TextMetrics::new([], Language::English).score, 0.0);
        assert_eq!(overall([0.0, 1.0, 0.5, 0.5, 0.5]), 0.5);
    }
}
