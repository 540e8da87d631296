//! Metrics of benchmarks against the official scripts, on recorded readings
//! (`tests/reference/official_scores.py`).

use std::fs;
use std::path::Path;

use ovis_image::evaluation::clip_score::clip_score;
use ovis_image::evaluation::{Mode, cvtg, longtext};
use serde::Deserialize;
use serde::de::DeserializeOwned;

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

#[derive(Deserialize)]
struct RecordedClip {
    clip_score: Vec<ClipCase>,
}

#[derive(Deserialize)]
struct ClipCase {
    image: Vec<f32>,
    text: Vec<f32>,
    score: f64,
}

fn golden<T: DeserializeOwned>(name: &str) -> T {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
    serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap()
}

fn recorded() -> Recorded {
    let recorded: Recorded = golden("evaluation.json");
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

#[test]
fn clip_scores_equal_those_of_the_official_script() {
    let cases = golden::<RecordedClip>("evaluation_clip.json").clip_score;
    assert!(cases.len() >= 300);
    for case in cases {
        let score = clip_score(&case.image, &case.text).unwrap();
        // The script's sums are f32.
        assert!((score - case.score).abs() < 1e-6, "{score} {}", case.score);
    }
}
