//! Metrics of benchmarks against the official scripts, on recorded readings
//! (`tests/reference/official_scores.py`).

use std::fs;
use std::path::Path;

use ovis_image::evaluation::{Mode, cvtg, longtext};
use serde::Deserialize;

#[derive(Deserialize)]
struct Recorded {
    cvtg: Vec<CvtgCase>,
    longtext: Vec<LongTextCase>,
}

#[derive(Deserialize)]
struct CvtgCase {
    prompt: String,
    lines: Vec<String>,
    words: Vec<String>,
    correct: usize,
    similarities: Vec<f64>,
}

#[derive(Deserialize)]
struct LongTextCase {
    language: String,
    texts: Vec<String>,
    reading: String,
    matched: usize,
    expected: usize,
}

fn recorded() -> Recorded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/evaluation.json");
    let recorded: Recorded = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert!(recorded.cvtg.len() >= 300 && recorded.longtext.len() >= 300);
    recorded
}

#[test]
fn cvtg_equals_the_official_script() {
    for case in recorded().cvtg {
        let words = cvtg::quoted_words(&case.prompt, Mode::Official);
        assert_eq!(words, case.words, "{}", case.prompt);
        let scores = cvtg::score(&words, Some(&case.lines), Mode::Official);
        assert_eq!(scores.correct, case.correct, "{:?}", case.lines);
        // The same operations on f64 in the same order.
        assert_eq!(scores.similarities, case.similarities, "{:?}", case.lines);
    }
}

#[test]
fn longtext_equals_the_official_script() {
    for case in recorded().longtext {
        let language = match case.language.as_str() {
            "en" => longtext::Language::English,
            _ => longtext::Language::Chinese,
        };
        let count = longtext::score(&case.texts, Some(&case.reading), language, Mode::Official);
        assert_eq!(
            (count.matched, count.expected),
            (case.matched, case.expected),
            "{:?} {}",
            case.texts,
            case.reading
        );
    }
}
